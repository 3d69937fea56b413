-- Reservations: a machine that is no instance has an address of a network by DHCP.
ALTER TABLE fixed_ips ADD COLUMN reserved_mac TEXT;
CREATE UNIQUE INDEX fixed_ips_reserved_mac ON fixed_ips (network_id, reserved_mac)
    WHERE reserved_mac IS NOT NULL;
