# SPDX-License-Identifier: Apache-2.0
"""Kubernetes manifests parse, and say what a mount needs; Kubernetes' own schema is for tests/package/run."""
import os
import re
import sys

import yaml

import tree


def check_sharing(found, path, name, container):
    """The directory above DIR is shared, by whoever mounts both ways, and the probes look at DIR."""
    env = {e["name"]: e.get("value") for e in container.get("env", [])}
    mounts = container.get("volumeMounts", [])
    for mount in mounts:
        if "subPath" in mount:
            found.add(path, 1, f"{name}: a subPath keeps showing a dead mount")
        wanted = "Bidirectional" if "DIR" in env else "HostToContainer"
        if mount.get("mountPropagation") != wanted:
            found.add(path, 1, f"{name}: {mount['mountPath']} needs mountPropagation: {wanted}")
    if "DIR" not in env:
        return
    if os.path.dirname(env["DIR"]) not in [m["mountPath"] for m in mounts]:
        found.add(path, 1, f"{name}: what is shared must be the directory above {env['DIR']}")
    if not container["securityContext"].get("privileged"):
        found.add(path, 1, f"{name}: Bidirectional is for privileged containers only")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if env["DIR"] + "/status/head" not in container[probe]["exec"]["command"]:
            found.add(path, 1, f"{name}: {probe} does not look at {env['DIR']}/status/head")


def check_entry(found, path, name, container, known):
    for one in container.get("env", []):
        if one["name"] not in known:
            found.add(path, 1, f"{name}: the entry script does not know {one['name']}")


def main(root):
    found = tree.Findings()
    manifests = [p for p in tree.files(root, ".yaml") if "/kubernetes/" in p]
    known = set(re.findall(r"^#     ([A-Z]+) ", tree.read(root, "mount-helpers/container/entry"), re.MULTILINE))
    version = re.search(r"project\(batchweave VERSION (\S+)", tree.read(root, "CMakeLists.txt")).group(1)
    mounting = 0
    for path in manifests:
        for document in yaml.safe_load_all(tree.read(root, path)):
            spec = document.get("spec", {}).get("template", document).get("spec")
            for container in (spec or {}).get("initContainers", []) + (spec or {}).get("containers", []):
                name = f"{document['kind']} {document['metadata']['name']}, {container['name']}"
                if container["image"].startswith("batchweave:"):
                    mounting += 1
                    check_entry(found, path, name, container, known)
                    if container["image"] != "batchweave:" + version:
                        found.add(path, 1, f"{name}: the image is not of release {version}")
                check_sharing(found, path, name, container)
    if mounting != 2 or not known:
        found.add("mount-helpers/kubernetes", 1, f"{mounting} containers that mount: the search is broken")
    return found


if __name__ == "__main__":
    main(sys.argv[1]).finish()
