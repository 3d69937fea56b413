"""Reads answers with botocore's own parser, and says which elements its service model does not know.

In: a JSON object, name -> [action, status, body]. Out: name -> [parsed, unknown elements].
"""

import json
import sys
import xml.etree.ElementTree as ElementTree

import botocore.parsers
import botocore.session


def local(element):
    return element.tag.rsplit("}", 1)[-1]


def unknown(element, shape, path):
    if shape is None or shape.type_name not in ("structure", "list"):
        return [f"{path}/{local(child)}" for child in element]
    if shape.type_name == "list":
        name = shape.member.serialization.get("name", "member")
        found = []
        for child in element:
            if local(child) != name:
                found.append(f"{path}/{local(child)}")
            found += unknown(child, shape.member, f"{path}/{local(child)}")
        return found
    names = {}
    for member, of in shape.members.items():
        names[of.serialization.get("name", member)] = of
    found = []
    for child in element:
        name = local(child)
        if name not in names:
            found.append(f"{path}/{name}")
        else:
            found += unknown(child, names[name], f"{path}/{name}")
    return found


def main():
    session = botocore.session.get_session()
    services = [session.get_service_model(name) for name in ("ec2", "sts")]
    out = {}
    for name, (action, status, body) in json.load(sys.stdin).items():
        service = next(one for one in services if action in one.operation_names)
        parser = botocore.parsers.create_parser(service.metadata["protocol"])
        shape = service.operation_model(action).output_shape
        answer = {"body": body.encode(), "headers": {}, "status_code": status}
        parsed = parser.parse(answer, shape)
        parsed.get("ResponseMetadata", {}).pop("HTTPHeaders", None)
        root = ElementTree.fromstring(body)
        strange = []
        if status == 200 and "resultWrapper" in (shape.serialization if shape else {}):
            root = root.find("{*}" + shape.serialization["resultWrapper"])
        if status == 200:
            strange = unknown(root, shape, local(root)) if shape else [f"{local(root)}/{local(child)}" for child in root]
        out[name] = [parsed, strange]
    json.dump(out, sys.stdout, default=str, sort_keys=True)


main()
