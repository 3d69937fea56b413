-- Authorities of the PKI: the cloud's root (project_id empty) and, with use_project_ca, one per
-- project. The key is sealed with the key file.
CREATE TABLE certificate_authorities (
    project_id TEXT PRIMARY KEY,
    certificate TEXT NOT NULL,
    private_key BYTEA NOT NULL,
    not_after BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Certificates that they signed. Rows outlive their user: revocation lists name them.
-- authority_id: the project_id of the authority; user_id: empty for a server's certificate.
CREATE TABLE certificates (
    serial TEXT PRIMARY KEY,
    authority_id TEXT NOT NULL REFERENCES certificate_authorities (project_id),
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    certificate TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    revoked_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX certificates_by_project ON certificates (project_id, user_id);
CREATE INDEX certificates_by_user ON certificates (user_id);
CREATE INDEX certificates_revoked ON certificates (authority_id, revoked_at)
WHERE revoked_at IS NOT NULL;
