-- DNS domain and DHCP options of a network. NULL: the flag's domain, no options. Options are
-- lines as dnsmasq takes them: ntp-server,10.0.0.9.
ALTER TABLE networks ADD COLUMN domain TEXT;
ALTER TABLE networks ADD COLUMN dhcp_options TEXT;
