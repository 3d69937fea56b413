-- What each host reports about its own addresses, routes and next hops (JSON; empty: nothing yet),
-- and which floating IPs cannot be used because of that.
ALTER TABLE hosts ADD COLUMN addresses TEXT NOT NULL DEFAULT '';
ALTER TABLE floating_ips ADD COLUMN conflict TEXT;
