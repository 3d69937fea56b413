"""The main job as a user of boto3 writes it, waiters included."""
import base64
import time

import boto3
from botocore.exceptions import ClientError

ec2 = boto3.client("ec2")


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
    else:
        raise AssertionError(f"{call} should have been refused with {code}")


assert [z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]] == ["nova"]
assert ec2.describe_regions()["Regions"][0]["RegionName"] == "nova"
image = ec2.describe_images(Filters=[{"Name": "name", "Values": ["tiny"]}])["Images"][0]["ImageId"]

key = ec2.create_key_pair(KeyName="job")
assert "PRIVATE KEY" in key["KeyMaterial"]
refused("InvalidKeyPair.Duplicate", ec2.create_key_pair, KeyName="job")

group = ec2.create_security_group(GroupName="web", Description="the web")["GroupId"]
rule = [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rule)
refused("InvalidPermission.Duplicate", ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=rule)

user_data = "#!/bin/sh\necho ran as $(hostname) > /var/www/ran.txt\n"
launch = ec2.run_instances(
    ImageId=image, InstanceType="m1.tiny", MinCount=1, MaxCount=2, KeyName="job",
    SecurityGroupIds=[group], UserData=user_data,
)
ids = [i["InstanceId"] for i in launch["Instances"]]
assert len(ids) == 2 and launch["ReservationId"].startswith("r-"), launch
ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 60})

float_ = ec2.allocate_address()
ec2.associate_address(InstanceId=ids[0], PublicIp=float_["PublicIp"])
found = ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])
found = {i["InstanceId"]: i for r in found["Reservations"] for i in r["Instances"]}
assert found[ids[0]]["PublicIpAddress"] == float_["PublicIp"], found
assert found[ids[0]]["SecurityGroups"][0]["GroupName"] == "web", found

for _ in range(60):
    console = ec2.get_console_output(InstanceId=ids[0]).get("Output", "")
    if "is up" in console:
        break
    time.sleep(0.5)
assert "is up" in console, console

ec2.reboot_instances(InstanceIds=[ids[0]])
for _ in range(60):
    if ec2.get_console_output(InstanceId=ids[0]).get("Output", "").count("is up") >= 2:
        break
    time.sleep(0.5)
else:
    raise AssertionError("the instance did not come up again")
ec2.get_waiter("instance_running").wait(InstanceIds=ids[:1], WaiterConfig={"Delay": 1, "MaxAttempts": 60})

refused("InvalidGroup.InUse", ec2.delete_security_group, GroupId=group)
refused("InvalidInstanceID.NotFound", ec2.describe_instances, InstanceIds=["i-0000ffff"])
refused("InvalidInstanceID.Malformed", ec2.describe_instances, InstanceIds=["i-zzz"])

ec2.terminate_instances(InstanceIds=[ids[1]])
ec2.get_waiter("instance_terminated").wait(InstanceIds=[ids[1]], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
