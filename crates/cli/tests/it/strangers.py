"""Who boto3 may not be. It is unmodified; only its clock is set, as a machine's may be wrong."""
import datetime

import boto3
import botocore.auth
from botocore.config import Config
from botocore.exceptions import ClientError

ACCESS, SECRET = "myaccess", "mysecret"
right_time = botocore.auth.get_current_datetime


def client(access, secret):
    return boto3.client(
        "ec2",
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        config=Config(retries={"max_attempts": 0}),
    )


def off_by(**span):
    delta = datetime.timedelta(**span)
    botocore.auth.get_current_datetime = lambda *args, **named: right_time(*args, **named) + delta


def welcome(ec2):
    assert ec2.describe_instances()["Reservations"] == []


def turned_away(code, ec2, secret):
    calls = [
        ec2.describe_instances,
        ec2.allocate_address,
        lambda: ec2.create_key_pair(KeyName="stolen"),
    ]
    for call in calls:
        try:
            answer = call()
        except ClientError as error:
            got = error.response["Error"]["Code"]
            assert got == code, f"{got} instead of {code}: {error}"
            assert secret not in str(error), error
            continue
        raise AssertionError(f"{answer} instead of {code}")


web = client(f"{ACCESS}:web", SECRET)
welcome(web)

# Somebody else's secret, nobody's key, a project that is not there or not one's own.
turned_away("AuthFailure", client(f"{ACCESS}:web", "notmysecret"), "notmysecret")
turned_away("AuthFailure", client(f"{ACCESS}:web", "joessecret"), "joessecret")
turned_away("AuthFailure", client("nobody:web", SECRET), SECRET)
turned_away("AuthFailure", client("nobody", SECRET), SECRET)
turned_away("AuthFailure", client(f"{ACCESS}:lost", SECRET), SECRET)
turned_away("AuthFailure", client("joesaccess:web", "joessecret"), "joessecret")

# Five minutes are let pass, in both directions.
for minutes in (-4, 4):
    off_by(minutes=minutes)
    welcome(web)
for minutes in (-6, 6, -60 * 24 * 365):
    off_by(minutes=minutes)
    turned_away("RequestExpired", web, SECRET)
    # Who does not know the secret does not hear what else was wrong.
    turned_away("AuthFailure", client(f"{ACCESS}:web", "notmysecret"), "notmysecret")
off_by(minutes=0)
welcome(web)
assert web.describe_key_pairs()["KeyPairs"] == []
print("all turned away")
