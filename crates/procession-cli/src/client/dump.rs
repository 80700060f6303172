//! `procession dump`.

use std::process::ExitCode;

use procession_api::proto::procession::v1::ListProcessesRequest;
use procession_api::proto::tetragon::{
    ConfigFlag, DumpProcessCacheReqArgs, GetDebugRequest, get_debug_request, get_debug_response,
};

use super::args::DumpArgs;
use super::connect::{Agent, refusal};
use super::screen::{Reader, Screen};
use super::{answer, json, next};

pub(super) async fn run(agent: &Agent, args: &DumpArgs, screen: &mut Screen<'_>) -> anyhow::Result<ExitCode> {
    if args.tetragon {
        return of_the_reference(agent, args, screen).await;
    }
    let request = ListProcessesRequest { with_ended: true, ..ListProcessesRequest::default() };
    let stream = answer(args.server.timeout, agent.lineage().list_processes(request)).await;
    let mut stream = stream.map_err(|status| refusal(&status))?;
    let timeout = args.server.timeout;
    while let Some(response) = next(timeout, &mut stream).await.map_err(|status| refusal(&status))? {
        let line = response.process.as_ref().map(json::line).unwrap_or_default();
        screen.put_line(&line);
        if screen.write_some()? == Reader::Gone {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn of_the_reference(
    agent: &Agent,
    args: &DumpArgs,
    screen: &mut Screen<'_>,
) -> anyhow::Result<ExitCode> {
    let dump = DumpProcessCacheReqArgs {
        skip_zero_refcnt: args.skip_zero_refcnt,
        exclude_execve_map_processes: args.exclude_execve_map_processes,
    };
    let request = GetDebugRequest {
        flag: ConfigFlag::DumpProcessCache.into(),
        arg: Some(get_debug_request::Arg::Dump(dump)),
    };
    let dumped = answer(args.server.timeout, agent.sensors().get_debug(request)).await;
    let arg = dumped.map_err(|status| refusal(&status))?.arg;
    let Some(get_debug_response::Arg::Processes(processes)) = arg else {
        anyhow::bail!("the agent gives something else than its processes");
    };
    for process in &processes.processes {
        screen.put_line(&json::line(process));
        if screen.write_some()? == Reader::Gone {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}
