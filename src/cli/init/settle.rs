//! Asks planning whether the choices can run, and chooses again until they can.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::decide::{self, Choice, Verdicts};
use super::survey::Pair;
use super::text;
use crate::config::spec::{Config, Mode, ServerSpec};
use crate::config::{self, Request};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::QualifiedName;
use crate::plan::{self, Refusal};
use crate::report::log::LogListener;
use crate::report::{Listener, RunTrigger};
use crate::run::{RunContext, planning};

/// What planning needs.
pub(super) struct Planner<'p> {
    pub request: &'p Request,
    pub path: &'p Path,
    /// With their passwords.
    pub specs: [&'p ServerSpec; 2],
    /// The configuration of these choices.
    pub text: &'p dyn Fn(&[Choice]) -> String,
}

/// The choices that can run, and the tables that are left out, with the reason.
pub(super) type Settled = (Vec<Choice>, BTreeMap<QualifiedName, String>);

impl Planner<'_> {
    /// Each round leaves a table out, or finds that one cannot be swapped, so the rounds end.
    pub async fn settle(&self, pairs: &[Pair]) -> Result<Settled> {
        let mut verdicts = Verdicts::default();
        loop {
            let choices = decide::decide(pairs, &verdicts);
            let mut judged = false;
            for mode in text::jobs(&choices) {
                judged |= self.judge(mode, &choices, &mut verdicts).await?;
            }
            if !judged {
                return Ok((choices, verdicts.left_out));
            }
        }
    }

    /// Plans the job of a mode. Was a table refused?
    async fn judge(&self, mode: Mode, choices: &[Choice], verdicts: &mut Verdicts) -> Result<bool> {
        let of_mode: Vec<Choice> = choices.iter().filter(|c| c.mode == mode).cloned().collect();
        let refusals = self.refusals(mode, &of_mode).await?;
        if refusals.is_empty() {
            return Ok(false);
        }
        let mut judged = false;
        for refusal in &refusals {
            let named = of_mode
                .iter()
                .find(|c| c.name.to_string() == refusal.relation);
            judged |= named.is_some_and(|choice| verdicts.add(choice, reason(refusal)));
        }
        if judged {
            return Ok(true);
        }
        if refusals
            .iter()
            .any(|refusal| refusal.kind == ErrorKind::ServerShutdown)
        {
            // It is about the server, and not about a table.
            return Err(plan::to_error(&refusals));
        }
        // Refused because of something beside the tables, such as a partition: which group does it belong to?
        let groups: BTreeSet<usize> = of_mode.iter().map(|choice| choice.group).collect();
        for group in groups {
            let members: Vec<Choice> = of_mode
                .iter()
                .filter(|c| c.group == group)
                .cloned()
                .collect();
            if let Some(refusal) = self.refusals(mode, &members).await?.first() {
                let reason = format!("{}: {}", refusal.relation, reason(refusal));
                for choice in &members {
                    judged |= verdicts.add(choice, reason.clone());
                }
            }
        }
        match judged {
            true => Ok(true),
            false => Err(plan::to_error(&refusals)),
        }
    }

    async fn refusals(&self, mode: Mode, choices: &[Choice]) -> Result<Vec<Refusal>> {
        let listener: Arc<dyn Listener> = Arc::new(LogListener);
        let config = self.config(choices)?;
        let run = RunContext::new(&config, mode.as_str(), RunTrigger::Manual, listener)?;
        match planning::plan(&run).await {
            Ok(Ok(_)) => Ok(Vec::new()),
            Ok(Err(refusals)) => Ok(refusals),
            Err(error) => match (error.relation(), error.kind()) {
                (Some(relation), ErrorKind::Permission | ErrorKind::SchemaMismatch) => {
                    let mut refusal = Refusal::mismatch(error.side(), relation, error.to_string());
                    refusal.hint = error.hint().map(str::to_owned);
                    Ok(vec![refusal])
                }
                _ => Err(error),
            },
        }
    }

    /// The configuration as it would be written, with the passwords that were given now.
    fn config(&self, choices: &[Choice]) -> Result<Config> {
        let text = (self.text)(choices);
        let loaded = config::load_text(self.path, text, self.request);
        let mut config = loaded.map_err(|errors| {
            let lines: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            let message = format!("the configuration would be wrong: {}", lines.join("; "));
            Error::new(ErrorKind::Config, Phase::Configure, Side::Local, message)
        })?;
        for spec in self.specs {
            config.servers.insert(spec.name.clone(), spec.clone());
        }
        Ok(config)
    }
}

fn reason(refusal: &Refusal) -> String {
    match &refusal.hint {
        Some(hint) => format!("{}; {hint}", refusal.message),
        None => refusal.message.clone(),
    }
}
