"""The whole job, as a user does it with boto3: launch, wait, address, rule, console, end."""
import os

import boto3
from botocore.config import Config

ec2 = boto3.client(
    "ec2", endpoint_url=os.environ["ENDPOINT"], config=Config(retries={"max_attempts": 0})
)
QUICK = {"Delay": 1, "MaxAttempts": 30}


def same(got, wanted):
    assert got == wanted, f"{got!r} instead of {wanted!r}"


def instances(**selected):
    reservations = ec2.describe_instances(**selected)["Reservations"]
    return [i for r in reservations for i in r["Instances"]]


image = ec2.describe_images()["Images"][0]
same((image["ImageId"], image["Name"], image["State"]), ("ami-00000001", "tiny", "available"))
same([z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]], ["nova"])
same([r["RegionName"] for r in ec2.describe_regions()["Regions"]], ["nova"])
same(len(ec2.describe_instance_types()["InstanceTypes"]), 5)

key = ec2.create_key_pair(KeyName="mine")
assert "PRIVATE KEY" in key["KeyMaterial"]
same([k["KeyName"] for k in ec2.describe_key_pairs()["KeyPairs"]], ["mine"])
ec2.create_key_pair(KeyName="old", KeyType="rsa")
kinds = {k["KeyName"]: k["KeyType"] for k in ec2.describe_key_pairs()["KeyPairs"]}
same(kinds, {"mine": "ed25519", "old": "rsa"})
ec2.delete_key_pair(KeyName="old")

group = ec2.create_security_group(GroupName="http", Description="web servers")["GroupId"]
rule = {
    "IpProtocol": "tcp",
    "FromPort": 80,
    "ToPort": 80,
    "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all clients"}],
}
made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
made = made["SecurityGroupRules"][0]
same((made["GroupId"], made["CidrIpv4"], made["IsEgress"]), (group, "0.0.0.0/0", False))
more = dict(rule, IpRanges=[], UserIdGroupPairs=[{"GroupId": group}])
more = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[more])
more = more["SecurityGroupRules"][0]
same(more["ReferencedGroupInfo"]["GroupId"], group)
of_group = [{"Name": "group-id", "Values": [group]}]
listed = ec2.describe_security_group_rules(Filters=of_group)["SecurityGroupRules"]
same([(r["SecurityGroupRuleId"], r.get("Description")) for r in listed], [
    (made["SecurityGroupRuleId"], "all clients"),
    (more["SecurityGroupRuleId"], None),
])
ec2.revoke_security_group_ingress(SecurityGroupRuleIds=[more["SecurityGroupRuleId"]])
for gone in (ec2.revoke_security_group_ingress, ec2.describe_security_group_rules):
    try:
        gone(SecurityGroupRuleIds=[more["SecurityGroupRuleId"]])
        raise AssertionError("a rule that is gone was found")
    except ec2.exceptions.ClientError as error:
        same(error.response["Error"]["Code"], "InvalidSecurityGroupRuleId.NotFound")
seen = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
same(seen["IpPermissions"][0]["FromPort"], 80)
same(seen["IpPermissions"][0]["IpRanges"][0]["Description"], "all clients")

run = ec2.run_instances(
    ImageId=image["ImageId"],
    InstanceType="m1.tiny",
    MinCount=2,
    MaxCount=2,
    KeyName="mine",
    SecurityGroupIds=[group],
    UserData="#!/bin/sh\n",
)
ids = [i["InstanceId"] for i in run["Instances"]]
same(ids, ["i-00000001", "i-00000002"])
# The host may have started one of them already.
same({i["State"]["Name"] for i in run["Instances"]} - {"pending", "running"}, set())
ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig=QUICK)
one = instances(InstanceIds=ids[:1])[0]
same(one["State"]["Name"], "running")
same(one["KeyName"], "mine")
same([g["GroupName"] for g in one["SecurityGroups"]], ["http"])
same(len(instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])), 2)
same(len(ec2.describe_instance_status()["InstanceStatuses"]), 2)
data = ec2.describe_instance_attribute(InstanceId=ids[0], Attribute="userData")
assert data["UserData"]["Value"]

address = ec2.allocate_address()
ec2.associate_address(InstanceId=ids[0], PublicIp=address["PublicIp"])
same(instances(InstanceIds=ids[:1])[0]["PublicIpAddress"], address["PublicIp"])
ec2.associate_address(InstanceId=ids[1], AllocationId=address["AllocationId"])
same(instances(InstanceIds=ids[1:])[0]["PublicIpAddress"], address["PublicIp"])
same(ec2.describe_addresses()["Addresses"][0]["InstanceId"], ids[1])
ec2.disassociate_address(PublicIp=address["PublicIp"])
assert "InstanceId" not in ec2.describe_addresses()["Addresses"][0]
ec2.release_address(AllocationId=address["AllocationId"])
same(ec2.describe_addresses()["Addresses"], [])

same(ec2.get_console_output(InstanceId=ids[0])["Output"], "i-00000001 says hello\n")
ec2.reboot_instances(InstanceIds=ids[:1])
ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig=QUICK)

stopped = ec2.stop_instances(InstanceIds=ids)["StoppingInstances"]
same([i["PreviousState"]["Name"] for i in stopped], ["running"] * 2)
same([i["CurrentState"]["Name"] for i in stopped], ["stopping"] * 2)
ec2.get_waiter("instance_stopped").wait(InstanceIds=ids, WaiterConfig=QUICK)
off = instances(InstanceIds=ids[:1])[0]
same(off["StateReason"]["Code"], "Client.UserInitiatedShutdown")
same(off["PrivateIpAddress"], one["PrivateIpAddress"])
same(ec2.describe_instance_status()["InstanceStatuses"], [])
started = ec2.start_instances(InstanceIds=ids)["StartingInstances"]
same([i["CurrentState"]["Name"] for i in started], ["pending"] * 2)
ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig=QUICK)
assert "StateReason" not in instances(InstanceIds=ids[:1])[0]

ended = ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]
same({i["CurrentState"]["Name"] for i in ended}, {"shutting-down"})
ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig=QUICK)

ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[rule])
ec2.delete_security_group(GroupId=group)
ec2.delete_key_pair(KeyName="mine")
same(ec2.describe_key_pairs()["KeyPairs"], [])
print("the job is done")
