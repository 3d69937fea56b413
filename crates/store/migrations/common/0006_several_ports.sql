-- The host objects of instances with several ports say more since this step: these are planned again.
INSERT INTO dirty (thing)
SELECT 'instance:' || CAST(instance_id AS TEXT) FROM virtual_interfaces
WHERE device_index = 1
ON CONFLICT (thing) DO NOTHING;
