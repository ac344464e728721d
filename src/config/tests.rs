#![allow(clippy::unwrap_used)]

use std::ffi::OsString;

use super::*;

fn refused(text: &str) -> String {
    Config::from_toml("farebox.toml", text).unwrap_err().to_string()
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

#[test]
fn the_defaults_are_complete_and_hold_their_own_rules() {
    // deny_unknown_fields and no serde default: a key too many or too few in either place fails here.
    let config = Config::defaults().unwrap();
    assert_eq!(config.kafka.brokers, "127.0.0.1:9092");
    assert_eq!(config.batch.max_bytes, Bytes::new(64 << 20));
    assert_eq!(config.dedupe.window, Duration::from_secs(900));
    assert_eq!(config.kafka.password_file, None);
    assert_eq!(config.place_of("kafka.brokers"), &Place::Default);
}

#[test]
fn every_section_of_the_defaults_explains_itself() {
    for part in DEFAULTS.split("\n[").skip(1) {
        assert!(part.contains("\n#"), "no explanation in [{part}");
    }
}

#[test]
fn a_misspelt_key_is_refused_with_line_path_caret_and_what_was_meant() {
    let expected = "\
farebox.toml:3:1: unknown key `kafka.brokrs`
   |
 3 | brokrs = …
   | ^^^^^^ did you mean `kafka.brokers`?";
    assert_eq!(refused("# ours\n[kafka]\nbrokrs = \"a:1\"\n"), expected);
}

#[test]
fn the_caret_stands_below_the_value_that_is_wrong() {
    let expected = "\
farebox.toml:3:14: `kafka.partitions` takes a whole number, like 6, not text in quotes
   |
 3 | partitions = \"six\"
   |              ^^^^^";
    assert_eq!(refused("[kafka]\ngroup = \"ä\"\npartitions = \"six\"\n"), expected);
    let expected = "\
farebox.toml:1:16: `batch.max_age` must lie between 10ms and 10m
   |
 1 | batch.max_age= \"20m\"
   |                ^^^^^";
    assert_eq!(refused("batch.max_age= \"20m\""), expected);
}

#[test]
fn a_misplaced_key_is_told_where_it_belongs() {
    assert!(refused("brokers = \"a:1\"").contains("did you mean `kafka.brokers`? It belongs under [kafka]"));
    assert!(refused("[kafka]\nurl = \"http://x\"").contains("did you mean `clickhouse.url`?"));
    assert!(refused("[clickhous]\nurl = \"http://x\"").contains("did you mean `clickhouse`?"));
    assert!(refused("kafka = 1").contains("`kafka` is a section"));
    assert!(refused("[kafka]\nbrokers.one = 1").contains("`kafka.brokers` takes text in quotes"));
}

#[test]
fn wrong_values_are_refused_one_sentence_each() {
    let cases = [
        ("[batch]\nmax_age = \"1\"", "`1` is no length of time"),
        ("[batch]\nmax_bytes = \"64 MB\"", "`64 MB` is no size"),
        ("[batch]\nmax_events = 0", "must lie between 1 and 1000000"),
        ("[batch]\nmax_events = -1", "invalid value"),
        ("[kafka]\npartitions = 0", "must lie between 1 and 10000"),
        ("[kafka]\nsecurity = \"ssl\"", "unknown variant `ssl`"),
        ("[kafka]\nsecurity = \"sasl_tls\"", "asks for a name and a password"),
        ("[kafka]\nusername = \"me\"", "would never be sent"),
        ("[kafka]\ndead_letter_topic = \"usage.events\"", "names the same topic as `kafka.topic`"),
        ("[kafka]\ntopic = \"a b\"", "is no name of a topic"),
        ("[kafka]\ncert_file = \"a.pem\"", "needs `kafka.key_file` beside it"),
        ("[metrics]\nlisten = \"localhost\"", "is no address to listen on"),
        ("[clickhouse]\nurl = \"127.0.0.1:8123\"", "must begin with http:// or https://"),
        ("[clickhouse]\ndatabase = \"a`b\"", "must be at most 64 letters"),
        ("[events]\nmax_age = \"800d\"", "must be at least 30 days more than `events.max_age`"),
        ("[log]\nlevel = \"inof\"", "knows no level `inof`"),
        ("[kafka]\nbrokers = \"a\"\nbrokers = \"b\"", "duplicate key"),
        ("[kafka\n", "not TOML"),
    ];
    for (text, part) in cases {
        let message = refused(text);
        assert!(message.contains(part), "{text:?} gave: {message}");
        assert!(message.starts_with("farebox.toml:"), "{text:?} gave: {message}");
    }
}

#[test]
fn properties_that_would_break_a_promise_are_refused() {
    for (property, part) in [
        ("enable.auto.commit = true", "every event is counted once depends on it"),
        ("\"partition.assignment.strategy\" = \"roundrobin\"", "every event is counted once depends on it"),
        ("\"sasl.password\" = \"hunter2\"", "use kafka.password or kafka.password_file"),
        ("\"ssl.key.password\" = \"hunter2\"", "no place for secrets"),
        ("\"sasl.oauthbearer.client.secret\" = \"hunter2\"", "no place for secrets"),
        ("\"bootstrap.servers\" = \"a:1\"", "use kafka.brokers"),
        ("\"no.such.thing\" = 1", "is refused by librdkafka"),
        ("\"socket.timeout.ms\" = \"soon\"", "is refused by librdkafka"),
    ] {
        let message = refused(&format!("[kafka.properties]\n{property}\n"));
        assert!(message.contains(part), "{property} gave: {message}");
        assert!(message.starts_with("farebox.toml:2:"), "{property} gave: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn properties_reach_librdkafka_with_and_without_quotes() {
    let text = "[kafka]\nproperties = { \"socket.keepalive.enable\" = true, fetch.wait.max.ms = 50 }";
    let config = Config::from_toml("f", text).unwrap();
    let client = config.kafka.client_config();
    assert_eq!(client.get("socket.keepalive.enable"), Some("true"));
    assert_eq!(client.get("fetch.wait.max.ms"), Some("50"));
    assert_eq!(client.get("bootstrap.servers"), Some("127.0.0.1:9092"));
}

#[test]
fn the_later_layer_wins_and_each_value_knows_where_it_came_from() {
    let inputs = Inputs {
        file: None,
        environment: environment(&[
            ("FAREBOX_KAFKA__BROKERS", "env:1"),
            ("FAREBOX_KAFKA__GROUP", "env"),
            ("FAREBOX_KAFKA__PARTITIONS", "12"),
            ("FAREBOX_ALERTS__OPERATOR_EMAILS", "[\"a@b.example\"]"),
            ("FAREBOX_KAFKA__PROPERTIES", "{ \"socket.nagle.disable\" = true }"),
            ("HOME", "/nowhere"),
        ]),
        set: vec!["kafka.group=flag=1".to_owned(), "kafka.properties.socket.timeout.ms=4000".to_owned()],
    };
    let text = "[kafka]\nbrokers = \"file:1\"\ngroup = \"file\"\ntopic = \"file\"\n";
    let config = layers::load_text(Some(("f.toml".into(), text)), &inputs).unwrap();
    assert_eq!(
        (config.kafka.brokers.as_str(), config.kafka.group.as_str(), config.kafka.topic.as_str()),
        ("env:1", "flag=1", "file")
    );
    assert_eq!((config.kafka.partitions, config.alerts.operator_emails.len()), (12, 1));
    assert_eq!(config.kafka.properties.len(), 2);
    assert_eq!(config.place_of("kafka.brokers").to_string(), "environment variable FAREBOX_KAFKA__BROKERS");
    assert_eq!(config.place_of("kafka.group").to_string(), "--set kafka.group");
    assert_eq!(config.place_of("kafka.topic").to_string(), "f.toml:4:9");
    assert_eq!(config.place_of("kafka.security").to_string(), "the default");
}

#[test]
fn environment_and_flags_are_checked_as_a_file_is() {
    let env = |name: &str, value: &str| {
        Config::load(&Inputs { environment: environment(&[(name, value)]), ..Inputs::default() }).unwrap_err().to_string()
    };
    assert_eq!(
        env("FAREBOX_KAFKA_BROKERS", "x"),
        "environment variable FAREBOX_KAFKA_BROKERS: sets nothing that farebox knows; did you mean FAREBOX_KAFKA__BROKERS?"
    );
    assert!(env("FAREBOX_WHATEVER", "x").contains("FAREBOX_SECTION__KEY"));
    assert!(env("FAREBOX_KAFKA__PARTITIONS", "six").contains("`kafka.partitions` takes a whole number, like 6"));
    assert!(env("FAREBOX_BATCH__MAX_AGE", "never").contains("is no length of time"));
    let set = |text: &str| Config::load(&Inputs { set: vec![text.to_owned()], ..Inputs::default() }).unwrap_err().to_string();
    assert!(set("kafka.brokrs=x").contains("did you mean `kafka.brokers`?"));
    assert!(set("kafka.brokers").contains("--set section.key=value"));
    assert!(set("kafka.properties.acks=1").contains("is set by farebox itself"));
}

#[test]
fn relative_paths_are_relative_to_the_file_they_stand_in() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("farebox.toml");
    std::fs::write(folder.path().join("pw"), "hunter2\r\n").unwrap();
    std::fs::write(&file, "[clickhouse]\npassword_file = \"pw\"\n[kafka]\nca_file = \"/etc/ca.pem\"\n").unwrap();
    let config = Config::load(&Inputs { file: Some(file), ..Inputs::default() }).unwrap();
    assert_eq!(config.clickhouse.password.reveal(), "hunter2");
    assert_eq!(config.kafka.ca_file.as_deref(), Some(std::path::Path::new("/etc/ca.pem")));
    assert_eq!(config.users.hash_key_file, folder.path().join("farebox.key"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_secret_given_twice_is_refused_unless_a_later_layer_gave_it() {
    let text = "[clickhouse]\npassword = \"a\"\npassword_file = \"/nowhere/pw\"\n";
    assert!(refused(text).contains("both `clickhouse.password` and `clickhouse.password_file` are set"));
    let inputs = Inputs { environment: environment(&[("FAREBOX_CLICKHOUSE__PASSWORD", "later")]), ..Inputs::default() };
    let text = "[clickhouse]\npassword_file = \"/nowhere/pw\"\n";
    let config = layers::load_text(Some(("f".into(), text)), &inputs).unwrap();
    assert_eq!(config.clickhouse.password.reveal(), "later");
    assert!(refused(text).contains("cannot read `/nowhere/pw`"));
}

#[test]
fn no_message_shows_a_secret() {
    for text in [
        "[kafka]\npassword = hunter2\n",
        "[kafka]\npasword = \"hunter2\"\n",
        "[kafka]\npassword = [\"hunter2\"]\n",
        "[kafka]\npasword = hunter2\n",
        "[kafka]\npassword \"hunter2\"\n",
        "[kassword = [\"hunter2\"]\n",
        "[kafka]\npassword = \"hunter2\"\n",
        "[kafka]\npassword = \"hunter2\nuser = 1\"\n",
        "[kafka]\nproperties = { \"sasl.password\" = \"hunter2\" }\n",
        "[clickhouse]\nurl = \"http://me:hunter2@host\"\n",
        "[clickhouse]\nurl = http://me:hunter2@host\n",
        "[kafkaa]\npassword = \"hunter2\"\n",
        "password = \"hunter2\"\n",
    ] {
        let message = refused(text);
        assert!(!message.contains("hunter2"), "{message}");
        assert!(message.lines().count() <= 4, "{message}");
    }
}

#[test]
fn a_missing_file_says_which() {
    let error = Config::load(&Inputs { file: Some("/nowhere/f.toml".into()), ..Inputs::default() }).unwrap_err().to_string();
    assert!(error.contains("/nowhere/f.toml") && error.contains("--config"), "{error}");
}

#[test]
fn every_key_is_shown_once_with_its_place_and_secrets_are_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hunter2\n").expect("a file");
    let text = format!(
        "[kafka]\nbrokers = \"a:1\"\npassword = \"hunter1\"\nsecurity = \"sasl_tls\"\nusername = \"me\"\nproperties = {{ \"socket.keepalive.enable\" = true }}\n[clickhouse]\npassword_file = {:?}\n",
        secret.display().to_string()
    );
    let inputs = Inputs { set: vec!["smtp.url=smtp://h:1".into()], ..Inputs::default() };
    let config = layers::load_text(Some(("f.toml".into(), &text)), &inputs).expect("in order");
    let shown: Vec<_> = config.shown().map(|shown| format!("{} = {} ({})", shown.key, shown.value, shown.place)).collect();
    for line in [
        "kafka.brokers = a:1 (f.toml:2:11)",
        "kafka.group = farebox (the default)",
        "kafka.password = *** (f.toml:3:12)",
        "kafka.properties.socket.keepalive.enable = true (f.toml:6:14)",
        "clickhouse.password = *** (f.toml:8:17)",
        "smtp.password =  (the default)",
        "smtp.url = smtp://h:1 (--set smtp.url)",
        "batch.max_events = 200000 (the default)",
        "log.level = info (the default)",
    ] {
        assert!(shown.iter().any(|shown| shown == line), "{line}\n{shown:#?}");
    }
    let schema: toml::Table = DEFAULTS.parse().expect("TOML");
    let keys: usize = schema.values().map(|section| section.as_table().map_or(0, toml::Table::len)).sum();
    assert_eq!(shown.len(), keys);
    assert!(!format!("{shown:?} {config:?}").contains("hunter"));
}
