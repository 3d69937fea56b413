"""Lets botocore make, serialise and sign real calls, and prints what it would send."""

import base64
import json
import sys

import botocore.awsrequest
import botocore.auth
import botocore.credentials
import botocore.session
from botocore.config import Config

ENDPOINT = "http://127.0.0.1:8773/services/Cloud"

CALLS = [
    ("describe_instances", {}),
    ("describe_instances", {"InstanceIds": ["i-0000000a", "i-0000000b"]}),
    (
        "describe_instances",
        {
            "Filters": [
                {"Name": "instance-state-name", "Values": ["running", "pending"]},
                {"Name": "key-name", "Values": ["my*"]},
            ],
            "MaxResults": 50,
        },
    ),
    ("describe_instance_status", {"InstanceIds": ["i-0000000a"], "IncludeAllInstances": True}),
    ("describe_instance_attribute", {"InstanceId": "i-0000000a", "Attribute": "userData"}),
    ("modify_instance_attribute", {"InstanceId": "i-0000000a", "Groups": ["sg-00000002", "sg-0000000a"]}),
    ("describe_instance_types", {"InstanceTypes": ["m1.tiny"]}),
    (
        "run_instances",
        {
            "ImageId": "ami-00000003",
            "MinCount": 1,
            "MaxCount": 2,
            "InstanceType": "m1.tiny",
            "KeyName": "mykey",
            "SecurityGroups": ["default", "web servers"],
            "SecurityGroupIds": ["sg-00000002"],
            "UserData": "#!/bin/sh\necho h\u00e4 && true\n",
            "Placement": {"AvailabilityZone": "nova"},
            "ClientToken": "once",
        },
    ),
    (
        "run_instances",
        {
            "ImageId": "ami-00000003",
            "MinCount": 1,
            "MaxCount": 1,
            "ClientToken": "twice",
            "NetworkInterfaces": [
                {"DeviceIndex": 0, "AssociatePublicIpAddress": True, "Groups": ["sg-00000002"], "PrivateIpAddress": "10.0.0.9"}
            ],
        },
    ),
    ("reboot_instances", {"InstanceIds": ["i-0000000a"]}),
    ("start_instances", {"InstanceIds": ["i-0000000a"]}),
    ("stop_instances", {"InstanceIds": ["i-0000000a", "i-0000000b"], "Force": True, "Hibernate": False}),
    ("terminate_instances", {"InstanceIds": ["i-0000000a", "i-0000000b", "i-0000000a"]}),
    ("get_console_output", {"InstanceId": "i-0000000a"}),
    ("describe_images", {"Owners": ["self"], "ImageIds": ["ami-00000003"], "ExecutableUsers": ["all"]}),
    ("create_key_pair", {"KeyName": "my key", "KeyType": "ed25519"}),
    ("import_key_pair", {"KeyName": "mykey", "PublicKeyMaterial": b"ssh-ed25519 AAAA me@here"}),
    ("describe_key_pairs", {"KeyNames": ["mykey"], "IncludePublicKey": True}),
    ("delete_key_pair", {"KeyName": "mykey"}),
    ("create_security_group", {"GroupName": "web", "Description": "web servers"}),
    ("describe_security_groups", {"GroupNames": ["web"], "GroupIds": ["sg-00000001"]}),
    ("delete_security_group", {"GroupId": "sg-00000001"}),
    (
        "authorize_security_group_ingress",
        {
            "GroupId": "sg-00000001",
            "IpPermissions": [
                {
                    "IpProtocol": "tcp",
                    "FromPort": 80,
                    "ToPort": 443,
                    "IpRanges": [{"CidrIp": "10.1.2.3/8"}, {"CidrIp": "192.0.2.0/24"}],
                    "UserIdGroupPairs": [{"GroupName": "web", "UserId": "admin"}],
                },
                {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-00000002"}]},
            ],
        },
    ),
    (
        "revoke_security_group_ingress",
        {"GroupName": "web", "IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "CidrIp": "0.0.0.0/0"},
    ),
    ("authorize_security_group_ingress", {"GroupName": "web", "SourceSecurityGroupName": "default"}),
    (
        "authorize_security_group_ingress",
        {
            "GroupId": "sg-00000001",
            "IpPermissions": [
                {
                    "IpProtocol": "tcp",
                    "FromPort": 22,
                    "ToPort": 22,
                    "IpRanges": [{"CidrIp": "192.0.2.0/24", "Description": "the office"}],
                }
            ],
        },
    ),
    ("revoke_security_group_ingress", {"SecurityGroupRuleIds": ["sgr-0000000a", "sgr-0000000b"]}),
    ("describe_security_group_rules", {"SecurityGroupRuleIds": ["sgr-0000000a"], "MaxResults": 5}),
    ("allocate_address", {}),
    ("allocate_address", {"Domain": "vpc", "Address": "68.99.26.170"}),
    ("associate_address", {"InstanceId": "i-0000000a", "PublicIp": "68.99.26.170"}),
    (
        "associate_address",
        {"InstanceId": "i-0000000a", "AllocationId": "eipalloc-00000001", "AllowReassociation": False},
    ),
    ("disassociate_address", {"AssociationId": "eipassoc-00000001"}),
    ("disassociate_address", {"PublicIp": "68.99.26.170"}),
    ("release_address", {"AllocationId": "eipalloc-00000001"}),
    ("describe_addresses", {"PublicIps": ["68.99.26.170"], "AllocationIds": ["eipalloc-00000001"]}),
    ("describe_availability_zones", {"ZoneNames": ["nova", "verbose"]}),
    ("describe_regions", {"RegionNames": ["nova"]}),
    ("terminate_instances", {"InstanceIds": ["i-0000000a"], "DryRun": True}),
]


def raw(request):
    from urllib.parse import urlsplit

    parts = urlsplit(request.url)
    headers = [(k, v.decode() if isinstance(v, bytes) else v) for k, v in request.headers.items()]
    # http.client adds it when it sends.
    if "host" not in [name.lower() for name, _ in headers]:
        headers.append(("Host", parts.netloc))
    body = request.body or b""
    if isinstance(body, str):
        body = body.encode()
    return {
        "method": request.method,
        "path": parts.path,
        "query": parts.query,
        "headers": headers,
        "body": base64.b64encode(body).decode(),
    }


def calls():
    session = botocore.session.get_session()
    sent = []

    def catch(request, **_):
        sent.append(raw(request))
        return botocore.awsrequest.AWSResponse(request.url, 200, {}, Body())

    for service, made in (("ec2", CALLS), ("sts", [("get_caller_identity", {})])):
        client = session.create_client(
            service,
            region_name="nova",
            endpoint_url=ENDPOINT,
            aws_access_key_id="AK:web",
            aws_secret_access_key="SK",
            config=Config(retries={"max_attempts": 0}),
        )
        client.meta.events.register(f"before-send.{service}", catch)
        for operation, arguments in made:
            getattr(client, operation)(**arguments)
    return sent


class Body:
    def stream(self, **_):
        yield b"<x><GetCallerIdentityResult/></x>"

    def read(self, *_, **__):
        return b"<x><GetCallerIdentityResult/></x>"


def signed(auth, method, **parts):
    request = botocore.awsrequest.AWSRequest(method=method, **parts)
    auth.add_auth(request)
    return raw(request.prepare())


def signatures():
    key = botocore.credentials.Credentials("AK:web", "SK")
    call = {"Action": "DescribeImages", "Version": "2016-11-15", "Owner.1": "a b+c/~d*\u00e4"}
    slash = ENDPOINT + "/"
    bare = "http://cloud.example"
    return [
        signed(botocore.auth.SigV2Auth(key), "POST", url=ENDPOINT, data=dict(call)),
        signed(botocore.auth.SigV2Auth(key), "POST", url=slash, data=dict(call)),
        signed(botocore.auth.SigV2Auth(key), "GET", url=bare, params=dict(call)),
        signed(botocore.auth.SigV4Auth(key, "ec2", "nova"), "POST", url=slash, data=dict(call)),
        signed(botocore.auth.SigV4Auth(key, "0", "127"), "GET", url=bare, params=dict(call)),
        signed(botocore.auth.SigV4QueryAuth(key, "ec2", "nova", expires=60), "GET", url=ENDPOINT, params=dict(call)),
        signed(botocore.auth.SigV4QueryAuth(key, "ec2", "nova", expires=60), "GET", url=bare, params=dict(call)),
    ]


json.dump({"calls": calls(), "signatures": signatures()}, sys.stdout)
