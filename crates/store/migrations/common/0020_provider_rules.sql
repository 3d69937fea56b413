-- What no instance hears, whatever its groups accept. Under nova's name; the columns are those of
-- security_group_rules.
CREATE TABLE provider_fw_rules (
    id BIGINT NOT NULL PRIMARY KEY,
    protocol TEXT NOT NULL,
    from_port BIGINT,
    to_port BIGINT,
    cidr TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
