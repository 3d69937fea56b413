"""What boto3 hears when something cannot be: EC2's code for it."""
import os
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


def client(access, secret):
    return boto3.client(
        "ec2",
        endpoint_url=os.environ["ENDPOINT"],
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        config=Config(retries={"max_attempts": 0}, parameter_validation=False),
    )


web = client(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
others = {name: client(a, s) for name, a, s in (line.split() for line in sys.argv[1].splitlines())}
joe_access, joe_secret = sys.argv[1].splitlines()[0].split()[1:]


def refused(code, call, **parameters):
    try:
        answer = call(**parameters)
    except ClientError as error:
        got = error.response["Error"]["Code"]
        assert got == code, f"{call.__name__} {parameters}: {error}"
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(error)
        return
    raise AssertionError(f"{call.__name__} {parameters}: {answer} instead of {code}")


RUN = {"ImageId": "ami-00000001", "InstanceType": "m1.tiny", "MinCount": 1, "MaxCount": 1}
refused("InvalidAMIID.NotFound", web.run_instances, **{**RUN, "ImageId": "ami-00000009"})
refused("InvalidAMIID.Malformed", web.run_instances, **{**RUN, "ImageId": "ami-xyz"})
refused("InvalidKeyPair.NotFound", web.run_instances, **RUN, KeyName="lost")
refused("InvalidGroup.NotFound", web.run_instances, **RUN, SecurityGroups=["nobody"])
refused("InvalidParameterValue", web.run_instances, **RUN, UserData="x" * 17_000)
refused("InstanceLimitExceeded", web.run_instances, **{**RUN, "MinCount": 11, "MaxCount": 11})
refused("InsufficientFreeAddressesInSubnet", web.run_instances, **{**RUN, "MinCount": 6, "MaxCount": 6})
refused("InvalidInstanceID.NotFound", web.describe_instances, InstanceIds=["i-00000099"])
refused("InvalidInstanceID.Malformed", web.terminate_instances, InstanceIds=["i-"])
refused("InvalidInstanceID.NotFound", web.terminate_instances, InstanceIds=["i-00000099"])
refused("InvalidInstanceID.NotFound", web.get_console_output, InstanceId="i-00000099")
refused("MissingParameter", web.terminate_instances)

web.run_instances(**RUN, ClientToken="once")
again = web.run_instances(**RUN, ClientToken="once")
assert again["Instances"][0]["InstanceId"] == "i-00000001", again
refused("IdempotentParameterMismatch", web.run_instances, **{**RUN, "MaxCount": 2}, ClientToken="once")
refused("UnsupportedOperation", web.run_instances, **RUN, Monitoring={"Enabled": True})
refused("UnsupportedOperation", web.run_instances, **RUN, MetadataOptions={"HttpTokens": "required"})
disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 100}}
refused("UnknownParameter", web.run_instances, **RUN, BlockDeviceMappings=[disk])
mail = others["mail"]
refused("InvalidInstanceID.NotFound", mail.terminate_instances, InstanceIds=["i-00000001"])
assert mail.describe_instances()["Reservations"] == []

first = web.allocate_address()
second = web.allocate_address()
refused("InsufficientAddressCapacity", web.allocate_address)
refused("InvalidAddress.NotFound", mail.release_address, PublicIp=first["PublicIp"])
refused("InvalidAllocationID.NotFound", mail.release_address, AllocationId=first["AllocationId"])
refused("InvalidAddress.NotFound", web.describe_addresses, PublicIps=["192.0.2.1"])
refused(
    "InvalidInstanceID.NotFound",
    web.associate_address,
    InstanceId="i-00000099",
    PublicIp=first["PublicIp"],
)
other = web.run_instances(**RUN)["Instances"][0]["InstanceId"]
web.associate_address(InstanceId="i-00000001", PublicIp=first["PublicIp"])
refused(
    "Resource.AlreadyAssociated",
    web.associate_address,
    InstanceId=other,
    AllocationId=first["AllocationId"],
    AllowReassociation=False,
)
# It would be cut off from whoever talks to it.
refused("InvalidIPAddress.InUse", web.release_address, AllocationId=first["AllocationId"])
refused("InvalidIPAddress.InUse", web.release_address, PublicIp=first["PublicIp"])
same = web.describe_addresses(PublicIps=[first["PublicIp"]])["Addresses"][0]
assert same["InstanceId"] == "i-00000001", same
web.disassociate_address(PublicIp=first["PublicIp"])
web.release_address(PublicIp=first["PublicIp"])

web.create_security_group(GroupName="http", Description="d")
refused("InvalidGroup.Duplicate", web.create_security_group, GroupName="http", Description="d")
refused("CannotDelete", web.delete_security_group, GroupName="default")
rule = {"GroupName": "http", "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "CidrIp": "0.0.0.0/0"}
web.authorize_security_group_ingress(**rule)
refused("InvalidPermission.Duplicate", web.authorize_security_group_ingress, **rule)
refused(
    "InvalidPermission.NotFound", web.revoke_security_group_ingress, **{**rule, "ToPort": 81}
)
refused("InvalidGroup.NotFound", web.delete_security_group, GroupName="nobody")
web.create_key_pair(KeyName="k")
refused("InvalidKeyPair.Duplicate", web.create_key_pair, KeyName="k")
for text in (b"no key", b"ssh-rsa AAAA", b"", b"-----BEGIN OPENSSH PRIVATE KEY-----\n"):
    code = "InvalidKey.Format" if text else "MissingParameter"
    refused(code, web.import_key_pair, KeyName="mine", PublicKeyMaterial=text)
# What PostgreSQL cannot store is the client's fault on every engine.
refused("InvalidParameterValue", web.create_key_pair, KeyName="a\0b")

web.terminate_instances(InstanceIds=[other])
web.get_waiter("instance_terminated").wait(
    InstanceIds=[other], WaiterConfig={"Delay": 1, "MaxAttempts": 30}
)
for call in (web.reboot_instances, web.start_instances, web.stop_instances):
    refused("IncorrectInstanceState", call, InstanceIds=[other])
refused("MissingParameter", web.stop_instances)
refused("UnsupportedOperation", web.stop_instances, InstanceIds=[other], Hibernate=True)

# A user who is in no project, and one who names somebody else's.
refused("AuthFailure", others["joe"].describe_instances)
refused("AuthFailure", client(f"{joe_access}:web", joe_secret).describe_instances)
print("all refused")
