"""EC2 and Auto Scaling with more machines than moto can bear: what they answered about one machine, said of thousands.

Only descriptions are answered so. Everything else is not for this server: who is to act gets the world's own AWS.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from typing import Any
from urllib.parse import parse_qs

from infra.local.cluster import Cluster

GROUP_SIZE = 500
_FIRST_ADDRESS = IPv4Address("10.78.0.1")


@dataclass(frozen=True)
class Sample:
    """What one machine and its group look like in the answers of AWS, as XML."""

    machine: str
    address: str
    group: str
    reservation: str
    group_text: str

    @classmethod
    def of(cls, cluster: Cluster, machine: str, address: str, group: str) -> Sample:
        bodies: list[str] = []
        ec2, autoscaling = cluster.client("ec2"), cluster.client("autoscaling")
        for client in (ec2, autoscaling):
            client.meta.events.register("before-parse", lambda response_dict, **_: bodies.append(_text(response_dict)))
        ec2.describe_instances(InstanceIds=[machine])
        autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])
        found, listed = (re.sub(r">\s+<", "><", body) for body in bodies[-2:])
        return cls(machine, address, group, _inside(found, "reservationSet"), _inside(listed, "AutoScalingGroups"))


class Crowd:
    """So many machines like the sample, in groups of at most 500. The sample itself is one of them."""

    def __init__(self, sample: Sample, count: int) -> None:
        self._sample = sample
        self.machines: dict[str, str] = {sample.machine: sample.address} | {
            f"i-{number:017x}": str(_FIRST_ADDRESS + number) for number in range(count - 1)
        }
        self.ended: set[str] = set()
        self.asked: Counter[str] = Counter()

    def instances(self, asked: Sequence[str], page_size: int, token: str) -> str:
        names = [one for one in asked if one in self.machines] if asked else list(self.machines)
        first = int(token or 0)
        page, more = names[first : first + page_size], first + page_size < len(names)
        after = f"<nextToken>{first + page_size}</nextToken>" if more else ""
        found = "".join(map(self._reservation, page))
        return (
            f'<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>bench</requestId>'
            f"<reservationSet>{found}</reservationSet>{after}</DescribeInstancesResponse>"
        )

    def groups(self) -> str:
        names = list(self.machines)
        parts = [names[first : first + GROUP_SIZE] for first in range(0, len(names), GROUP_SIZE)]
        listed = "".join(self._group(number, members) for number, members in enumerate(parts))
        return (
            '<DescribeAutoScalingGroupsResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/">'
            f"<DescribeAutoScalingGroupsResult><AutoScalingGroups>{listed}</AutoScalingGroups>"
            "</DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>"
        )

    def _reservation(self, machine: str) -> str:
        text = self._sample.reservation.replace(self._sample.machine, machine)
        text = text.replace(self._sample.address, self.machines[machine])
        if machine in self.ended:
            text = text.replace("<code>16</code><name>running</name>", "<code>48</code><name>terminated</name>")
        return text

    def _group(self, number: int, members: Sequence[str]) -> str:
        member = _inside(self._sample.group_text, "Instances")
        text = self._sample.group_text.replace(
            member, "".join(member.replace(self._sample.machine, one) for one in members)
        )
        size = f"<DesiredCapacity>{len(members)}</DesiredCapacity>"
        text = re.sub(r"<DesiredCapacity>\d+</DesiredCapacity>", size, text)
        return text.replace(self._sample.group, f"{self._sample.group}-{number}") if number else text


def serve(crowd: Crowd) -> ThreadingHTTPServer:
    """Answer on a port of its own of 127.0.0.1 until it is shut down."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            crowd.asked[asked["Action"][0]] += 1
            answer = _answer(crowd, {name: values[0] for name, values in asked.items()})
            self.send_response(200 if answer else 501)
            body = (answer or f"{asked['Action']} is not answered here").encode()
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the library's name
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _answer(crowd: Crowd, asked: Mapping[str, str]) -> str | None:
    match asked["Action"]:
        case "DescribeInstances":
            ids = [text for name, text in asked.items() if name.startswith("InstanceId.")]
            return crowd.instances(ids, int(asked.get("MaxResults", "1000")), asked.get("NextToken", ""))
        case "DescribeAutoScalingGroups":
            return crowd.groups()
        case "DescribeInstanceStatus":
            return (
                '<DescribeInstanceStatusResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
                "<requestId>bench</requestId><instanceStatusSet/></DescribeInstanceStatusResponse>"
            )
        case "DescribeSpotInstanceRequests":
            return (
                '<DescribeSpotInstanceRequestsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
                "<requestId>bench</requestId><spotInstanceRequestSet/></DescribeSpotInstanceRequestsResponse>"
            )
        case "DescribeAutoScalingInstances":
            return (
                '<DescribeAutoScalingInstancesResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/">'
                "<DescribeAutoScalingInstancesResult><AutoScalingInstances/></DescribeAutoScalingInstancesResult>"
                "</DescribeAutoScalingInstancesResponse>"
            )
    return None


def _text(response: Mapping[str, Any]) -> str:
    body: bytes = response["body"]
    return body.decode()


def _inside(text: str, element: str) -> str:
    """What stands between the first opening and the last closing of an element."""
    return text[text.index(f"<{element}>") + len(element) + 2 : text.rindex(f"</{element}>")]
