"""Reads a config drive with the real cloud-init, and says as JSON what it understood: read.py SOURCE FOLDER

SOURCE is NoCloud, ConfigDrive or seed. cloud-init looks for the drive itself; only that the kernel mounts it is replaced by
FOLDER, with what is on it: not every kernel that tests run on has the file systems.
"""
import copy
import json
import pathlib
import sys

import jsonschema
from cloudinit import distros, helpers, user_data, util
from cloudinit.config import schema
from cloudinit.net import eni, netplan, network_state
from cloudinit.sources import DataSourceConfigDrive, DataSourceNoCloud

source, folder = sys.argv[1:]
mounted = []


def mount_cb(device, callback, data=None, **_):
    mounted.append(device)
    return callback(folder) if data is None else callback(folder, data)


util.mount_cb = mount_cb
paths = helpers.Paths({"cloud_dir": "/var/lib/cloud", "run_dir": "/run/cloud-init"})
distro = distros.fetch("debian")("debian", {}, paths)
kind = (
    DataSourceConfigDrive.DataSourceConfigDrive
    if source == "ConfigDrive"
    else DataSourceNoCloud.DataSourceNoCloud
)
data = kind({"datasource_list": ["NoCloud", "ConfigDrive"]}, distro, paths)
if not data.get_data():
    sys.exit(f"{source} finds nothing")

parts = []
message = user_data.UserDataProcessor(paths).process(data.get_userdata_raw())
for part in message.walk():
    if part.get_content_maintype() != "multipart":
        text = util.decode_binary(part.get_payload(decode=True))
        parts.append({"type": part.get_content_type(), "name": part.get_filename(), "text": text})
config = next(part["text"] for part in parts if part["type"] == "text/cloud-config")
config = util.load_yaml(config)
schema.validate_cloudconfig_schema(config, schema.get_schema(), strict=True)

hostname = data.get_hostname(fqdn=True)
network = data.network_config
if network["version"] == 2:
    # cloud-init's own, of a release newer than the one that runs here.
    rules = json.loads(pathlib.Path("/schema-network-config-v2.json").read_text())
    jsonschema.validate(network, rules)
files = {}
for name, renderer in [
    ("netplan", netplan.Renderer({"postcmds": []})),
    ("ifupdown", eni.Renderer({"eni_path": "etc/network/interfaces", "netrules_path": None})),
]:
    target = pathlib.Path("/rendered") / name
    (target / "etc/netplan").mkdir(parents=True)
    state = network_state.parse_net_config_data(copy.deepcopy(network), renderer=renderer)
    renderer.render_network_state(state, target=str(target))
    for file in target.rglob("*"):
        if file.is_file():
            files[f"{name}/{file.name}"] = file.read_text()

print(
    json.dumps(
        {
            "mounted": mounted,
            "instance_id": data.get_instance_id(),
            "hostname": str(getattr(hostname, "hostname", hostname)),
            "parts": parts,
            "config": config,
            "network": network,
            "rendered": files,
        }
    )
)
