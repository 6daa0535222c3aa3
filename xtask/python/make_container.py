"""Makes a container at an Azure Blob server, signed with the account's key.

usage: make_container.py ACCOUNT_URL ACCOUNT KEY CONTAINER
"""

import base64
import hashlib
import hmac
import sys
import urllib.parse
import urllib.request
from email.utils import formatdate


def main() -> None:
    account_url, account, key, container = sys.argv[1:]
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
    path = urllib.parse.urlparse(account_url).path
    signed = "\n".join(
        # The verb, eleven standard headers that are not sent, our own, the resource.
        ["PUT", *[""] * 11]
        + [f"{name}:{value}" for name, value in sorted(headers.items())]
        + [f"/{account}{path}/{container}", "restype:container"]
    )
    digest = hmac.digest(base64.b64decode(key), signed.encode(), hashlib.sha256)
    headers["Authorization"] = f"SharedKey {account}:{base64.b64encode(digest).decode()}"
    headers["Content-Length"] = "0"
    url = f"{account_url}/{container}?restype=container"
    request = urllib.request.Request(url, method="PUT", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        if answer.status != 201:
            sys.exit(f"{url}: {answer.status}")


if __name__ == "__main__":
    main()
