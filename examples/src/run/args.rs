//! The command line of `autoscaler run`, from the table of settings.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};

use super::config::{Kind, Name, Reads, Setting, foreign::foreign, settings};

/// What the command line says. Values are texts: they are read together with environment and file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunArgs {
    /// Flags without their dashes, in the order of the table.
    pub flags: Vec<(String, String)>,
    /// The file.
    pub config: Option<PathBuf>,
    /// Whether to print what holds and end.
    pub print_config: bool,
}

/// An argument that takes a text, several times if need be: the last counts.
fn text(flag: &'static str, kind: Kind) -> Arg {
    let arg = Arg::new(flag).long(flag).action(ArgAction::Append);
    match kind {
        // As Go has it: a switch alone means yes, a value follows an equals sign.
        Kind::Switch => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL"),
        _ => arg
            .num_args(1)
            .allow_hyphen_values(true)
            .value_name(value_name(kind)),
    }
}

fn value_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Switch => "BOOL",
        Kind::Count(_) => "NUMBER",
        Kind::Duration => "DURATION",
        Kind::Address | Kind::OptionalAddress => "ADDRESS",
        Kind::Ip => "IP",
        Kind::Text => "NAME",
        Kind::Path => "FILE",
        Kind::List => "LIST",
        Kind::Choice(_) => "WORD",
        Kind::LogFilter => "LEVEL",
    }
}

fn help(setting: &Setting) -> String {
    let mut text = setting.doc.trim_end_matches('.').to_owned();
    if let Kind::Choice(words) = setting.kind {
        text = format!("{text} [one of: {}]", words.join(", "));
    }
    let mut variables = vec![setting.environment()];
    variables.extend(setting.aliases.iter().filter_map(|alias| match alias.name {
        Name::Environment(name) => Some(name.to_owned()),
        Name::Flag(_) => None,
    }));
    text = format!("{text} [env: {}]", variables.join(", "));
    if !setting.default.is_empty() {
        text = format!("{text} [default: {}]", setting.default);
    }
    text
}

impl clap::Args for RunArgs {
    fn augment_args(command: Command) -> Command {
        let mut command = command
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .env("AUTOSCALER_CONFIG")
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("Read settings from this YAML file"),
            )
            .arg(
                Arg::new("print-config")
                    .long("print-config")
                    .action(ArgAction::SetTrue)
                    .help("Print the effective configuration, each value with its origin, and end"),
            );
        for setting in settings() {
            command = command.arg(text(setting.flag, setting.kind).help(help(setting)));
            for alias in setting.aliases {
                if let Name::Flag(name) = alias.name {
                    let kind = if alias.reads == Reads::Inverted {
                        Kind::Switch
                    } else {
                        setting.kind
                    };
                    command = command.arg(text(name, kind).hide(true));
                }
            }
        }
        for setting in foreign() {
            if let Some(name) = setting.flag {
                let kind = if setting.switch { Kind::Switch } else { Kind::Text };
                command = command.arg(text(name, kind).hide(true));
            }
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for RunArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self {
            flags: Vec::new(),
            config: matches.get_one::<PathBuf>("config").cloned(),
            print_config: matches.get_flag("print-config"),
        };
        let aliases = settings()
            .flat_map(|setting| setting.aliases)
            .filter_map(|alias| match alias.name {
                Name::Flag(name) => Some(name),
                Name::Environment(_) => None,
            });
        let names = settings()
            .map(|setting| setting.flag)
            .chain(aliases)
            .chain(foreign().filter_map(|setting| setting.flag));
        for name in names {
            let values = matches.get_many::<String>(name).into_iter().flatten();
            args.flags
                .extend(values.map(|value| (name.to_owned(), value.clone())));
        }
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<RunArgs, clap::Error> {
        let command = <RunArgs as clap::Args>::augment_args(Command::new("run").no_binary_name(true));
        RunArgs::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    fn flags(arguments: &[&str]) -> Vec<(String, String)> {
        parse(arguments).unwrap().flags
    }

    fn said(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn the_command_line_of_kedas_operator_is_accepted() {
        let found = flags(&[
            "--leader-elect",
            "--disable-compression=true",
            "--zap-log-level=info",
            "--zap-encoder=console",
            "--zap-time-encoding=rfc3339",
            "--enable-webhook-patching=true",
            "--cert-dir=/certs",
            "--enable-cert-rotation=true",
            "--cert-secret-name=kedaorg-certs",
            "--metrics-bind-address=:8080",
            "--kube-api-qps",
            "20",
        ]);
        assert_eq!(found.len(), 11, "{found:?}");
        assert!(found.contains(&said("leader-elect", "true")));
        assert!(found.contains(&said("kube-api-qps", "20")));
    }

    #[test]
    fn a_flag_may_come_several_times_and_begin_with_a_dash() {
        let found = flags(&["--namespace", "a,b", "--namespace=c", "--memory-limit", "-1"]);
        assert_eq!(
            found,
            [
                said("namespace", "a,b"),
                said("namespace", "c"),
                said("memory-limit", "-1")
            ]
        );
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        let error = parse(&["--leader-elct"]).unwrap_err();
        assert!(error.to_string().contains("--leader-elect"), "{error}");
    }
}
