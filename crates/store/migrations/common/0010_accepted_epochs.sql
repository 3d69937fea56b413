-- Epochs of other databases, or of other states of this one, that this database takes over from on a
-- host, because the operator said so (nova-manage db restored; docs/restore.md).
CREATE TABLE accepted_epochs (
    host TEXT NOT NULL,
    epoch TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (host, epoch)
);
