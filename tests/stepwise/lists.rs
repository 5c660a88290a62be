//! Elements of long lists that are searched.

use super::harness::client::Client;
use super::harness::server::{Launch, skip_on_other_server};
use super::harness::value::Value;
use super::{MANY, begin, interrupted, start, steps};

/// Appends the numbers from 0 on, each of them the rest that it leaves when it is divided by `by`.
fn fill(client: &mut Client, key: &str, by: usize) {
    let texts: Vec<String> = (0..MANY).map(|number| text(number % by)).collect();
    for texts in texts.chunks(1000) {
        let words = ["RPUSH", key].into_iter().chain(texts.iter().map(String::as_str));
        client.command(&words.collect::<Vec<_>>());
    }
}

fn text(number: usize) -> String {
    format!("element:{number:020}")
}

#[test]
fn positions_are_searched_in_steps() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let (mut client, mut other) = (server.client(), server.client());
    fill(&mut client, "list", 100);
    let numbers = |values: Vec<usize>| {
        Value::Array(values.into_iter().map(|value| Value::Integer(value as i64)).collect())
    };
    let mut check = |options: &str, expected: Value| {
        let line = format!("LPOS list {} {options}", text(7));
        let reply = interrupted(&mut client, &mut other, line.trim_end());
        assert!(reply == expected, "{line}");
    };
    let all: Vec<usize> = (7..MANY).step_by(100).collect();
    let backwards: Vec<usize> = all.iter().rev().copied().collect();
    check("COUNT 0", numbers(all.clone()));
    check("COUNT 0 RANK -1", numbers(backwards.clone()));
    check("COUNT 500 RANK 40", numbers(all[39..539].to_vec()));
    check("COUNT 500 RANK -40", numbers(backwards[39..539].to_vec()));
    check("COUNT 0 MAXLEN 55007", numbers(all[..550].to_vec()));
    check("COUNT 0 MAXLEN 55008", numbers(all[..551].to_vec()));
    check("RANK 600", Value::Integer(59_907));
    check("RANK -599", Value::Integer(107));
    check("RANK 601", Value::NullBulk);
    // What is found soon is answered at once.
    let before = steps(&mut client);
    assert_eq!(client.words(&format!("LPOS list {}", text(7))), Value::Integer(7));
    assert!(steps(&mut client) - before < 5);
}

#[test]
fn elements_are_put_in_and_removed_in_steps() {
    if skip_on_other_server() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let launch = Launch::shards(1).durable("async").dir(dir.path());
    let server = launch.start();
    let [mut client, mut other, mut listener] = [server.client(), server.client(), server.client()];
    fill(&mut client, "list", MANY);
    fill(&mut client, "hundreds", 100);
    client.ok("CONFIG SET notify-keyspace-events EA");
    listener.words("PSUBSCRIBE __keyevent@0__:*");
    let mut model: Vec<String> = (0..MANY).map(text).collect();
    let mut hundreds: Vec<String> = (0..MANY).map(|number| text(number % 100)).collect();
    let mut told = |name: &str| {
        let event = listener.read().expect("an event");
        assert!(event.elements()[2].text().ends_with(&format!(":{name}")), "{event:?}, not {name}");
    };

    begin(&mut client, &mut other, &format!("LINSERT list AFTER {} new", text(MANY - 10)));
    assert_eq!(client.read().expect("a reply"), Value::Integer(MANY as i64 + 1));
    model.insert(MANY - 9, "new".to_owned());
    told("linsert");
    begin(&mut client, &mut other, "LINSERT list BEFORE nothing new");
    assert_eq!(client.read().expect("a reply"), Value::Integer(-1));

    for (number, count, removed) in
        [(7, 0, 600), (9, 50, 50), (9, -50, 50), (9, 0, 500), (11, -1000, 600)]
    {
        let wanted = text(number);
        begin(&mut client, &mut other, &format!("LREM hundreds {count} {wanted}"));
        assert_eq!(client.read().expect("a reply"), Value::Integer(removed), "{number} {count}");
        told("lrem");
        let mut left = removed;
        let mut stays = |element: &String| {
            let goes = left > 0 && *element == wanted;
            left -= i64::from(goes);
            !goes
        };
        if count < 0 {
            hundreds.reverse();
        }
        hundreds.retain(&mut stays);
        if count < 0 {
            hundreds.reverse();
        }
    }
    begin(&mut client, &mut other, "LREM hundreds 0 nothing");
    assert_eq!(client.read().expect("a reply"), Value::Integer(0));
    begin(&mut client, &mut other, "COPY hundreds ones");
    assert_eq!(client.read().expect("a reply"), Value::Integer(1));
    told("copy_to");
    server.stop();

    let server = launch.start();
    let mut client = server.client();
    for (key, expected) in [("list", &model), ("hundreds", &hundreds), ("ones", &hundreds)] {
        let elements: Vec<Value> = expected.iter().map(Value::bulk).collect();
        assert!(client.words(&format!("LRANGE {key} 0 -1")).elements() == elements, "{key}");
    }
}

#[test]
fn a_list_of_which_nothing_is_left_is_gone() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let (mut client, mut other) = (server.client(), server.client());
    fill(&mut client, "list", 1);
    begin(&mut client, &mut other, &format!("LREM list 0 {}", text(0)));
    assert_eq!(client.read().expect("a reply"), Value::Integer(MANY as i64));
    assert_eq!(client.words("EXISTS list"), Value::Integer(0));
}
