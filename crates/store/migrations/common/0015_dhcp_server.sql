-- The DHCP server of a flatdhcp network whose gateway is another machine; NULL: the gateway.
ALTER TABLE networks ADD COLUMN dhcp_server TEXT;
