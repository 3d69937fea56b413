-- A project's VPN: where clients connect to, its Cloudpipe's address, and its clients' addresses. In
-- a VLAN network the public side follows from the network's row, and these columns repeat it.
CREATE TABLE vpns (
    id BIGINT PRIMARY KEY,
    project_id TEXT NOT NULL UNIQUE REFERENCES projects (id),
    network_id BIGINT NOT NULL REFERENCES networks (id),
    public_address TEXT NOT NULL,
    public_port BIGINT NOT NULL CHECK (public_port BETWEEN 1 AND 65535),
    private_address TEXT NOT NULL,
    first_client TEXT NOT NULL,
    last_client TEXT NOT NULL,
    -- The last Cloudpipe that was launched; it may be terminated.
    instance_id BIGINT,
    -- Who owns key pair and Cloudpipe, and the sealed private half of that key.
    user_id TEXT NOT NULL,
    ssh_key_sealed BYTEA NOT NULL,
    -- The server's certificate (PEM) and its sealed key.
    server_certificate TEXT NOT NULL,
    server_key_sealed BYTEA NOT NULL,
    -- 1: ended; the row waits until every host has let go of the Cloudpipe.
    deleting BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    UNIQUE (public_address, public_port),
    UNIQUE (network_id, private_address)
);
CREATE INDEX vpns_by_instance ON vpns (instance_id);
