//! `procession loglevel`.

use std::process::ExitCode;

use procession_api::proto::tetragon::{
    ConfigFlag, GetDebugRequest, LogLevel, SetDebugRequest, get_debug_response, set_debug_request,
    set_debug_response,
};

use super::answer;
use super::args::{LoglevelAction, ServerArgs};
use super::connect::{Agent, refusal};
use super::screen::Screen;

pub(super) fn server(action: &LoglevelAction) -> &ServerArgs {
    match action {
        LoglevelAction::Get { server } | LoglevelAction::Set { server, .. } => server,
    }
}

pub(super) async fn run(
    agent: &Agent,
    action: &LoglevelAction,
    screen: &mut Screen<'_>,
) -> anyhow::Result<ExitCode> {
    let level = match action {
        LoglevelAction::Get { server } => {
            let request = GetDebugRequest { flag: ConfigFlag::LogLevel.into(), arg: None };
            let got = answer(server.timeout, agent.sensors().get_debug(request)).await;
            match got.map_err(|status| refusal(&status))?.arg {
                Some(get_debug_response::Arg::Level(level)) => Some(level),
                _ => None,
            }
        }
        LoglevelAction::Set { level, server } => {
            let level = i32::from(LogLevel::from(*level));
            let arg = Some(set_debug_request::Arg::Level(level));
            let request = SetDebugRequest { flag: ConfigFlag::LogLevel.into(), arg };
            let set = answer(server.timeout, agent.sensors().set_debug(request)).await;
            match set.map_err(|status| refusal(&status))?.arg {
                Some(set_debug_response::Arg::Level(level)) => Some(level),
                _ => Some(level),
            }
        }
    };
    let level = level.and_then(|level| LogLevel::try_from(level).ok());
    let level = level.ok_or_else(|| anyhow::anyhow!("the agent does not say how much it logs"))?;
    let name = level.as_str_name().trim_start_matches("LOG_LEVEL_").to_ascii_lowercase();
    screen.lines().extend_from_slice(format!("{name}\n").as_bytes());
    Ok(ExitCode::SUCCESS)
}
