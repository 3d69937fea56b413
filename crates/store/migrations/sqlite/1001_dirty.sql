-- Rows edited by hand (docs/schema.md lists the columns) are planned again: a trigger marks them, a
-- controller takes the marks. Our own changes plan in their own transaction; their marks cost one
-- planning that finds nothing to do, so only columns that we change rarely are watched.
CREATE TRIGGER networks_edited AFTER UPDATE OF cidr, gateway, dhcp_start, dns1, dns2, bridge,
    bridge_interface, vlan, vpn_public_address, vpn_public_port, mtu, host, project_id ON networks
BEGIN
    INSERT INTO dirty (thing) VALUES ('network:' || NEW.id) ON CONFLICT (thing) DO NOTHING;
END;
CREATE TRIGGER floating_ips_edited AFTER UPDATE OF interface ON floating_ips
BEGIN
    INSERT INTO dirty (thing) VALUES ('float:' || NEW.id) ON CONFLICT (thing) DO NOTHING;
END;
CREATE TRIGGER rules_edited AFTER UPDATE ON security_group_rules
BEGIN
    INSERT INTO dirty (thing) VALUES ('rule:' || NEW.id) ON CONFLICT (thing) DO NOTHING;
END;
