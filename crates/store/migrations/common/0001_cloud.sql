-- One schema for SQLite and PostgreSQL: TEXT, BIGINT and BYTEA only; times are microseconds since
-- 1970 UTC; flags are 0 and 1. Names follow nova's where nova had them. docs/schema.md explains.

CREATE TABLE clock (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    epoch TEXT NOT NULL,
    version BIGINT NOT NULL,
    -- Tombstones up to this version may be gone: followers behind it list again.
    horizon BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE host_objects (
    host TEXT NOT NULL,
    object_key TEXT NOT NULL,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    version BIGINT NOT NULL,
    deleted BIGINT NOT NULL DEFAULT 0 CHECK (deleted IN (0, 1)),
    deleted_at BIGINT,
    body TEXT NOT NULL,
    PRIMARY KEY (host, object_key)
);
CREATE INDEX host_objects_by_version ON host_objects (host, version);
CREATE INDEX host_objects_by_owner ON host_objects (owner);
CREATE INDEX host_objects_tombstones ON host_objects (deleted_at) WHERE deleted = 1;

CREATE TABLE hosts (
    name TEXT PRIMARY KEY,
    my_ip TEXT NOT NULL,
    roles TEXT NOT NULL,
    kinds TEXT NOT NULL,
    vcpus BIGINT NOT NULL,
    memory_mb BIGINT NOT NULL,
    program_version TEXT NOT NULL,
    availability_zone TEXT NOT NULL DEFAULT 'nova',
    disabled BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    applied_epoch TEXT NOT NULL DEFAULT '',
    applied_version BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE host_errors (
    host TEXT NOT NULL,
    object_key TEXT NOT NULL,
    message TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (host, object_key)
);

CREATE TABLE audit (
    id BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    source TEXT NOT NULL,
    action TEXT NOT NULL,
    project_id TEXT,
    object TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_by_object ON audit (object, at);
CREATE INDEX audit_by_time ON audit (at);

CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- Rows that somebody edited by hand (triggers of the engine's own migration write here).
CREATE TABLE dirty (
    thing TEXT PRIMARY KEY
);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    access_key TEXT NOT NULL UNIQUE,
    secret_key BYTEA NOT NULL,
    is_admin BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    project_manager TEXT NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL
);

CREATE TABLE user_project_association (
    user_id TEXT NOT NULL REFERENCES users (id),
    project_id TEXT NOT NULL REFERENCES projects (id),
    PRIMARY KEY (user_id, project_id)
);

CREATE TABLE user_role_association (
    user_id TEXT NOT NULL REFERENCES users (id),
    role TEXT NOT NULL,
    PRIMARY KEY (user_id, role)
);

CREATE TABLE user_project_role_association (
    user_id TEXT NOT NULL REFERENCES users (id),
    project_id TEXT NOT NULL REFERENCES projects (id),
    role TEXT NOT NULL,
    PRIMARY KEY (user_id, project_id, role)
);

CREATE TABLE quotas (
    project_id TEXT NOT NULL REFERENCES projects (id),
    resource TEXT NOT NULL,
    hard_limit BIGINT NOT NULL CHECK (hard_limit >= -1),
    PRIMARY KEY (project_id, resource)
);

CREATE TABLE key_pairs (
    user_id TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    public_key TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, name)
);

CREATE TABLE images (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    project_id TEXT REFERENCES projects (id),
    digest TEXT NOT NULL,
    size BIGINT NOT NULL,
    is_public BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL
);

CREATE TABLE image_blobs (
    digest TEXT NOT NULL,
    part BIGINT NOT NULL,
    data BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (digest, part)
);

CREATE TABLE networks (
    id BIGINT PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    label TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('flat', 'flatdhcp', 'vlan')),
    injected BIGINT NOT NULL DEFAULT 0,
    multi_host BIGINT NOT NULL DEFAULT 0,
    cidr TEXT NOT NULL UNIQUE,
    netmask TEXT NOT NULL,
    gateway TEXT NOT NULL,
    broadcast TEXT NOT NULL,
    dhcp_start TEXT NOT NULL,
    dns1 TEXT,
    dns2 TEXT,
    bridge TEXT NOT NULL CHECK (length(bridge) BETWEEN 1 AND 15),
    bridge_interface TEXT CHECK (length(bridge_interface) BETWEEN 1 AND 15),
    vlan BIGINT CHECK (vlan BETWEEN 1 AND 4094),
    vpn_public_address TEXT,
    vpn_public_port BIGINT CHECK (vpn_public_port BETWEEN 1 AND 65535),
    vpn_private_address TEXT,
    vpn_clients BIGINT NOT NULL DEFAULT 0,
    project_id TEXT REFERENCES projects (id),
    priority BIGINT,
    host TEXT,
    mtu BIGINT CHECK (mtu BETWEEN 68 AND 65535),
    deleting BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK (kind <> 'vlan' OR vlan IS NOT NULL)
);
CREATE UNIQUE INDEX networks_vlan ON networks (COALESCE(bridge_interface, ''), vlan)
    WHERE vlan IS NOT NULL;
CREATE UNIQUE INDEX networks_vlan_bridge ON networks (bridge) WHERE kind = 'vlan';
CREATE UNIQUE INDEX networks_vpn ON networks (COALESCE(vpn_public_address, ''), vpn_public_port)
    WHERE vpn_public_port IS NOT NULL;
CREATE INDEX networks_by_project ON networks (project_id);

-- Next address never handed out, apart from `networks` because it moves with every allocation.
CREATE TABLE address_cursors (
    network_id BIGINT PRIMARY KEY REFERENCES networks (id),
    next_addr BIGINT NOT NULL
);

-- Inclusive ranges that are never handed out.
CREATE TABLE reserved_ranges (
    network_id BIGINT NOT NULL REFERENCES networks (id),
    first_addr BIGINT NOT NULL,
    last_addr BIGINT NOT NULL CHECK (last_addr >= first_addr),
    reason TEXT NOT NULL,
    PRIMARY KEY (network_id, first_addr)
);

CREATE TABLE instances (
    id BIGINT PRIMARY KEY,
    reservation_id BIGINT NOT NULL,
    launch_index BIGINT NOT NULL,
    client_token TEXT,
    project_id TEXT NOT NULL REFERENCES projects (id),
    user_id TEXT NOT NULL,
    image_id BIGINT NOT NULL,
    image_digest TEXT NOT NULL,
    instance_type TEXT NOT NULL,
    memory_mb BIGINT NOT NULL,
    vcpus BIGINT NOT NULL,
    hostname TEXT NOT NULL,
    key_name TEXT,
    key_data TEXT,
    user_data BYTEA,
    host TEXT,
    availability_zone TEXT NOT NULL DEFAULT 'nova',
    state TEXT NOT NULL CHECK (state IN
        ('pending', 'running', 'stopped', 'error', 'deleting', 'terminated')),
    detail TEXT,
    boot BIGINT NOT NULL DEFAULT 1,
    combination_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    launched_at BIGINT,
    terminated_at BIGINT
);
CREATE INDEX instances_by_project ON instances (project_id, id);
CREATE INDEX instances_by_host ON instances (host) WHERE state <> 'terminated';
CREATE INDEX instances_deleting ON instances (id) WHERE state = 'deleting';
CREATE UNIQUE INDEX instances_client_token ON instances (project_id, client_token, launch_index)
    WHERE client_token IS NOT NULL;

CREATE TABLE virtual_interfaces (
    id BIGINT PRIMARY KEY,
    address TEXT NOT NULL UNIQUE,
    network_id BIGINT NOT NULL REFERENCES networks (id),
    instance_id BIGINT NOT NULL REFERENCES instances (id),
    device_index BIGINT NOT NULL,
    UNIQUE (instance_id, device_index)
);

-- A row for each address ever handed out or reserved by hand, none for the rest.
CREATE TABLE fixed_ips (
    id BIGINT PRIMARY KEY,
    address TEXT NOT NULL,
    addr BIGINT NOT NULL,
    network_id BIGINT NOT NULL REFERENCES networks (id),
    instance_id BIGINT REFERENCES instances (id),
    virtual_interface_id BIGINT,
    host TEXT,
    allocated BIGINT NOT NULL DEFAULT 0,
    leased BIGINT NOT NULL DEFAULT 0,
    reserved BIGINT NOT NULL DEFAULT 0,
    freed_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (network_id, addr)
);
CREATE INDEX fixed_ips_oldest_freed ON fixed_ips (network_id, freed_at, addr)
    WHERE instance_id IS NULL AND reserved = 0;
CREATE INDEX fixed_ips_by_instance ON fixed_ips (instance_id) WHERE instance_id IS NOT NULL;
CREATE INDEX fixed_ips_by_address ON fixed_ips (address);

CREATE TABLE floating_ips (
    id BIGINT PRIMARY KEY,
    address TEXT NOT NULL UNIQUE,
    addr BIGINT NOT NULL UNIQUE,
    pool TEXT NOT NULL,
    interface TEXT CHECK (length(interface) BETWEEN 1 AND 15),
    project_id TEXT REFERENCES projects (id),
    fixed_ip_id BIGINT REFERENCES fixed_ips (id),
    auto_assigned BIGINT NOT NULL DEFAULT 0,
    freed_at BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK (fixed_ip_id IS NULL OR project_id IS NOT NULL)
);
CREATE INDEX floating_ips_free ON floating_ips (pool, freed_at, addr) WHERE project_id IS NULL;
CREATE INDEX floating_ips_by_project ON floating_ips (project_id) WHERE project_id IS NOT NULL;
CREATE INDEX floating_ips_by_fixed ON floating_ips (fixed_ip_id) WHERE fixed_ip_id IS NOT NULL;

CREATE TABLE security_groups (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    project_id TEXT NOT NULL REFERENCES projects (id),
    user_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (project_id, name)
);

CREATE TABLE security_group_rules (
    id BIGINT PRIMARY KEY,
    parent_group_id BIGINT NOT NULL REFERENCES security_groups (id),
    protocol TEXT NOT NULL,
    from_port BIGINT,
    to_port BIGINT,
    cidr TEXT,
    group_id BIGINT REFERENCES security_groups (id),
    CHECK ((cidr IS NULL) <> (group_id IS NULL))
);
CREATE INDEX security_group_rules_by_parent ON security_group_rules (parent_group_id);
CREATE INDEX security_group_rules_by_source ON security_group_rules (group_id)
    WHERE group_id IS NOT NULL;

CREATE TABLE security_group_instance_association (
    instance_id BIGINT NOT NULL REFERENCES instances (id),
    security_group_id BIGINT NOT NULL REFERENCES security_groups (id),
    PRIMARY KEY (instance_id, security_group_id)
);
CREATE INDEX instances_by_group ON security_group_instance_association (security_group_id);

-- Combinations of groups that instances are in, ascending ids joined by commas; never re-used.
CREATE TABLE group_combinations (
    id BIGINT PRIMARY KEY,
    group_ids TEXT NOT NULL UNIQUE
);

-- On which hosts a group and a project have instances that are planned there, how many, and for a
-- project what they are given there: quotas and placement add these up instead of all instances.
CREATE TABLE group_hosts (
    group_id BIGINT NOT NULL,
    host TEXT NOT NULL,
    members BIGINT NOT NULL CHECK (members > 0),
    PRIMARY KEY (group_id, host)
);
CREATE TABLE project_hosts (
    project_id TEXT NOT NULL,
    host TEXT NOT NULL,
    members BIGINT NOT NULL CHECK (members > 0),
    vcpus BIGINT NOT NULL,
    memory_mb BIGINT NOT NULL,
    PRIMARY KEY (project_id, host)
);

INSERT INTO clock (id, epoch, version) VALUES (1, '', 0);
