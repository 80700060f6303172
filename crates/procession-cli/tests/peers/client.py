"""Calls every method of the agent's API through gRPC's own client, which shares no code with the server.

    client.py PROTO_FOLDER ADDRESS MARKER [CA CERT KEY]

The messages are what protoc makes of the .proto files. Whoever starts this runs `echo MARKER` again and
again meanwhile: the stream has to tell of it. Prints what it saw as one JSON object.
"""

import json
import pathlib
import sys
import tempfile

import grpc
from google.protobuf import json_format
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc

TIMEOUT = 20

REFUSED = [
    "AddTracingPolicy", "DeleteTracingPolicy", "ListTracingPolicies", "ConfigureTracingPolicy",
    "EnableTracingPolicy", "DisableTracingPolicy", "ListDomains", "ListSensors", "EnableSensor",
    "DisableSensor", "RemoveSensor",
]


def compile_protos(folder):
    """Puts the modules that protoc makes into a folder of their own, and that on the path."""
    import grpc_tools

    out = tempfile.mkdtemp()
    includes = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    files = [str(path.relative_to(folder)) for path in sorted(pathlib.Path(folder).rglob("*.proto"))]
    arguments = [f"-I{folder}", f"-I{includes}", f"--python_out={out}", f"--grpc_python_out={out}", *files]
    assert protoc.main(["protoc", *arguments]) == 0, arguments
    sys.path.insert(0, out)


def connect(address, tls):
    if not tls:
        # For a unix socket this library would send the escaped path, which HTTP/2 servers refuse as the
        # name of a host.
        options = [("grpc.default_authority", "localhost")] if address.startswith("unix:") else []
        return grpc.insecure_channel(address, options)
    authority, certificate, key = [pathlib.Path(path).read_bytes() for path in tls]
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(authority, key, certificate))


def main():
    folder, address, marker, *tls = sys.argv[1:]
    compile_protos(folder)
    from procession.v1 import lineage_pb2 as own, lineage_pb2_grpc as own_grpc
    from tetragon import events_pb2 as events, eventlogservice_pb2 as log, eventlogservice_pb2_grpc as log_grpc
    from tetragon import sensors_pb2 as sensors, sensors_pb2_grpc as sensors_grpc
    from tetragon import tetragon_pb2 as tetragon

    channel = connect(address, tls)
    agent = sensors_grpc.FineGuidanceSensorsStub(channel)
    seen = {}

    # The stream, with a filter, to the end of a process that started under our eyes.
    request = events.GetEventsRequest(allow_list=[events.Filter(arguments_regex=[f"^{marker}$"])])
    started = None
    for event in agent.GetEvents(request, timeout=TIMEOUT):
        line = json_format.MessageToDict(event, preserving_proto_field_name=True)
        if event.HasField("process_exec"):
            started = event.process_exec.process.exec_id
            seen["exec"] = line
        elif event.HasField("process_exit") and event.process_exit.process.exec_id == started:
            seen["exit"] = line
            break

    # Fields that are left out are not there.
    fields = events.FieldFilter(action=events.INCLUDE)
    fields.fields.paths.extend(["process.binary", "process.arguments"])
    request.field_filters.append(fields)
    event = next(agent.GetEvents(request, timeout=TIMEOUT))
    seen["filtered"] = json_format.MessageToDict(event, preserving_proto_field_name=True)

    health = agent.GetHealth(tetragon.GetHealthStatusRequest(), timeout=TIMEOUT)
    seen["health"] = [tetragon.HealthStatusResult.Name(status.status) for status in health.health_status]
    seen["version"] = agent.GetVersion(sensors.GetVersionRequest(), timeout=TIMEOUT).version
    seen["info"] = agent.GetInfo(sensors.GetInfoRequest(), timeout=TIMEOUT).version
    agent.RuntimeHook(tetragon.RuntimeHookRequest(createContainer=tetragon.CreateContainer(
        cgroupsPath="/kubepods/pod1/0000", rootDir="/", containerName="c")), timeout=TIMEOUT)

    debug = agent.GetDebug(sensors.GetDebugRequest(flag=sensors.CONFIG_FLAG_LOG_LEVEL), timeout=TIMEOUT)
    seen["level"] = sensors.LogLevel.Name(debug.level)
    level = sensors.SetDebugRequest(flag=sensors.CONFIG_FLAG_LOG_LEVEL, level=sensors.LOG_LEVEL_DEBUG)
    seen["new_level"] = sensors.LogLevel.Name(agent.SetDebug(level, timeout=TIMEOUT).level)
    level.level = debug.level
    agent.SetDebug(level, timeout=TIMEOUT)
    dump = sensors.DumpProcessCacheReqArgs(skip_zero_refcnt=True)
    request = sensors.GetDebugRequest(flag=sensors.CONFIG_FLAG_DUMP_PROCESS_CACHE, dump=dump)
    seen["dumped"] = len(agent.GetDebug(request, timeout=TIMEOUT).processes.processes)
    request.ClearField("dump")
    seen["dump_without_argument"] = code(lambda: agent.GetDebug(request, timeout=TIMEOUT))
    bad = events.GetEventsRequest(allow_list=[events.Filter(binary_regex=["("])])
    seen["bad_filter"] = code(lambda: next(agent.GetEvents(bad, timeout=TIMEOUT)))

    seen["refused"] = {}
    for method in REFUSED:
        call = getattr(agent, method)
        request = getattr(sensors, f"{method}Request")()
        seen["refused"][method] = code(lambda: call(request, timeout=TIMEOUT))

    event_log = log_grpc.EventLogServiceStub(channel)
    event_log.SetEventLogParams(log.SetEventLogParamsRequest(max_backups=7), timeout=TIMEOUT)
    seen["backups"] = event_log.GetEventLogParams(log.GetEventLogParamsRequest(), timeout=TIMEOUT).max_backups

    lineage = own_grpc.LineageServiceStub(channel)
    running = 0
    for item in lineage.Follow(own.FollowRequest(), timeout=TIMEOUT):
        if item.HasField("snapshot_end"):
            assert item.snapshot_end.processes == running, (item, running)
        running += item.HasField("running")
        if item.HasField("event"):
            break
    seen["running"] = running
    seen["listed"] = sum(1 for _ in lineage.ListProcesses(own.ListProcessesRequest(), timeout=TIMEOUT))
    tree = own.GetTreeRequest(root=own.Target(pid=1))
    seen["tree"] = sum(1 for _ in lineage.GetTree(tree, timeout=TIMEOUT))
    chain = lineage.GetLineage(own.GetLineageRequest(target=own.Target(exec_id=started)), timeout=TIMEOUT)
    seen["chain"] = [link.process.process.binary for link in chain.chain]
    ledger = lineage.GetLedger(own.GetLedgerRequest(), timeout=TIMEOUT)
    for account in ledger.accounts:
        parts = account.applied + account.duplicate + account.late + account.rejected
        assert account.received == parts, account
    seen["received"] = sum(account.received for account in ledger.accounts)
    seen["observing"] = lineage.GetStatus(own.GetStatusRequest(), timeout=TIMEOUT).is_observing

    seen["services"] = sorted(ProtoReflectionDescriptorDatabase(channel).get_services())

    # Lines of the export: known on standard input, one on each line, to messages and back.
    lines = 0
    for line in sys.stdin:
        message = json_format.Parse(line, events.GetEventsResponse())
        back = json_format.MessageToDict(message, preserving_proto_field_name=True)
        assert back == json.loads(line), (line, back)
        lines += 1
    seen["lines"] = lines
    print(json.dumps(seen))


def code(call):
    """The name of the code with which a call fails, and what it says."""
    try:
        call()
    except grpc.RpcError as error:
        return [error.code().name, error.details()]
    raise AssertionError("it should have failed")


main()
