"""What of OpenNebula's command line the hand-made walkthrough uses, by plain HTTP calls, where that is not installed.

Words, options and output are the original's; everything else it refuses. Called by the name of the program.
"""

import base64
import json
import os
import re
import sys
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
import xmlrpc.client

STATES = ["PENDING", "DEPLOYING", "RUNNING", "UNDEPLOYING", "WARNING", "DONE", "FAILED_UNDEPLOYING", "FAILED_DEPLOYING"]
STATES += ["SCALING", "FAILED_SCALING", "COOLDOWN", "DEPLOYING_NETS", "UNDEPLOYING_NETS"]
STATES += ["FAILED_DEPLOYING_NETS", "FAILED_UNDEPLOYING_NETS", "HOLD"]


def session():
    with open(os.environ["ONE_AUTH"], encoding="utf-8") as file:
        return file.read().strip()


def flow(method, path, body=None):
    """One call of OneFlow; a refusal ends the program with the server's words."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(os.environ["ONEFLOW_URL"] + path, data=data, method=method)
    request.add_header("Authorization", "Basic " + base64.b64encode(session().encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as refusal:
        sys.exit(f"{refusal.code}: {refusal.read().decode()}")
    return json.loads(text) if text else None


def oned(method, *arguments):
    """One call of XML-RPC."""
    server = xmlrpc.client.ServerProxy(os.environ["ONE_XMLRPC"])
    answer = getattr(server, method)(session(), *arguments)
    if not answer[0]:
        sys.exit(answer[1])
    return answer[1]


def read(name):
    with open(name, encoding="utf-8") as file:
        return file.read()


def typed(values, inputs):
    """What becomes of text64 values that somebody types: ONE_TEXT64 names the front end.

    The command line encodes an answer whatever it is, so that a value which was encoded already is encoded twice; the
    web form takes what it gets, so that PEM stays PEM.
    """
    way = os.environ.get("ONE_TEXT64")
    for name, value in values.items():
        if way is None or "|text64|" not in inputs.get(name, "") or not value:
            continue
        pem = base64.b64decode(value)
        assert pem.startswith(b"-----BEGIN "), name
        values[name] = base64.b64encode(value.encode()).decode() if way == "cli" else pem.decode()


def instantiate(template, file):
    merge = json.loads(read(file))
    declared = flow("GET", f"/service_template/{template}")["DOCUMENT"]["TEMPLATE"]["BODY"]
    typed(merge["user_inputs_values"], declared["user_inputs"])
    for role, own in zip(merge["roles"], declared["roles"]):
        typed(role["user_inputs_values"], own["user_inputs"])
    action = {"action": {"perform": "instantiate", "params": {"merge_template": merge}}}
    print("ID:", flow("POST", f"/service_template/{template}/action", action)["DOCUMENT"]["ID"])


def show_service(number):
    document = flow("GET", f"/service/{number}")["DOCUMENT"]
    body = document["TEMPLATE"]["BODY"]
    print(f"{'ID':<20}: {document['ID']}")
    print(f"{'NAME':<20}: {document['NAME']}")
    print(f"{'SERVICE STATE':<20}: {STATES[body['state']]}")
    for entry in body.get("log", []):
        print(f"[{entry['severity']}] {entry['message']}")
    if STATES[body["state"]].startswith("FAILED"):
        # Who waits for another state would wait for ever.
        os.kill(os.getppid(), 15)


def show_vm(name):
    number = name
    if not name.isdigit():
        services = flow("GET", "/service")["DOCUMENT_POOL"].get("DOCUMENT", [])
        nodes = [node for one in services for role in one["TEMPLATE"]["BODY"]["roles"] for node in role["nodes"]]
        known = {node["vm_info"]["VM"]["NAME"]: node["vm_info"]["VM"]["ID"] for node in nodes}
        if name not in known:
            sys.exit(f"VM named {name} not found.")
        number = known[name]
    vm = ElementTree.fromstring(oned("one.vm.info", int(number)))
    print(f"{'ID':<20}: {number}\n{'NAME':<20}: {vm.findtext('NAME')}\n\nUSER TEMPLATE")
    for attribute in vm.find("USER_TEMPLATE"):
        print(f'{attribute.tag}="{attribute.text or ""}"')


def main():
    program, words = os.path.basename(sys.argv[0]), sys.argv[1:]
    match [program, *words]:
        case ["onetemplate", "create", file]:
            print("ID:", oned("one.template.allocate", read(file)))
        case ["onevm", "show", name]:
            show_vm(name)
        case ["oneflow-template", "create", file]:
            print("ID:", flow("POST", "/service_template", json.loads(read(file)))["DOCUMENT"]["ID"])
        case ["oneflow-template", "instantiate", template, file]:
            instantiate(template, file)
        case ["oneflow", "show", number]:
            show_service(number)
        case ["oneflow", "delete", number]:
            flow("DELETE", f"/service/{number}")
        case ["ssh", "-fNL", forward, login] if re.fullmatch(r"\d+:127\.0\.0\.1:\d+", forward) and login.startswith("root@"):
            # The loopback of a sandbox's VM is reached without.
            pass
        case _:
            sys.exit(f"{program}: not known here: {words}")


main()
