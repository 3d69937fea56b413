-- One VLAN id is one network of the cloud, whatever its interface. Networks that shared an id on
-- separate interfaces before this step keep it: `vlan_shared` has the row id of all but the first.
ALTER TABLE networks ADD COLUMN vlan_shared BIGINT NOT NULL DEFAULT 0;
UPDATE networks SET vlan_shared = id WHERE vlan IS NOT NULL AND EXISTS
    (SELECT 1 FROM networks o WHERE o.vlan = networks.vlan AND o.id < networks.id);
DROP INDEX networks_vlan;
CREATE UNIQUE INDEX networks_vlan ON networks (vlan, vlan_shared) WHERE vlan IS NOT NULL;
-- A VLAN network without a project has no host objects since this step.
INSERT INTO dirty (thing)
SELECT 'network:' || CAST(id AS TEXT) FROM networks WHERE kind = 'vlan' AND project_id IS NULL
ON CONFLICT (thing) DO NOTHING;
CREATE INDEX networks_by_bridge ON networks (bridge);
