-- Rows edited by hand (docs/schema.md lists the columns) are planned again: a trigger marks them, a
-- controller takes the marks. Our own changes plan in their own transaction; their marks cost one
-- planning that finds nothing to do, so only columns that we change rarely are watched.
CREATE FUNCTION mark_dirty() RETURNS trigger AS $$
BEGIN
    INSERT INTO dirty (thing) VALUES (TG_ARGV[0] || ':' || NEW.id) ON CONFLICT (thing) DO NOTHING;
    RETURN NULL;
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER networks_edited AFTER UPDATE OF cidr, gateway, dhcp_start, dns1, dns2, bridge,
    bridge_interface, vlan, vpn_public_address, vpn_public_port, mtu, host, project_id ON networks
    FOR EACH ROW EXECUTE FUNCTION mark_dirty('network');
CREATE TRIGGER floating_ips_edited AFTER UPDATE OF interface ON floating_ips
    FOR EACH ROW EXECUTE FUNCTION mark_dirty('float');
CREATE TRIGGER rules_edited AFTER UPDATE ON security_group_rules
    FOR EACH ROW EXECUTE FUNCTION mark_dirty('rule');
