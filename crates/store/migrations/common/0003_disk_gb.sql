-- An instance's host object says how large its disk is. Objects of instances that are there already get what
-- planning them again would write; their version stays, as their disks do.
UPDATE host_objects SET body = replace(body, ',"ports":', ',"disk_gb":20,"ports":')
WHERE kind = 'instance' AND owner IN
    (SELECT 'instance:' || CAST(id AS TEXT) FROM instances WHERE instance_type = 'm1.small');
UPDATE host_objects SET body = replace(body, ',"ports":', ',"disk_gb":40,"ports":')
WHERE kind = 'instance' AND owner IN
    (SELECT 'instance:' || CAST(id AS TEXT) FROM instances WHERE instance_type = 'm1.medium');
UPDATE host_objects SET body = replace(body, ',"ports":', ',"disk_gb":80,"ports":')
WHERE kind = 'instance' AND owner IN
    (SELECT 'instance:' || CAST(id AS TEXT) FROM instances WHERE instance_type = 'm1.large');
UPDATE host_objects SET body = replace(body, ',"ports":', ',"disk_gb":160,"ports":')
WHERE kind = 'instance' AND owner IN
    (SELECT 'instance:' || CAST(id AS TEXT) FROM instances WHERE instance_type = 'm1.xlarge');
