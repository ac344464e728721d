//! The mail as HTML: one column that fits a phone, readable without its picture, in colours for light and dark.

use super::notice::Notice;
use super::text::said;
use super::words::{name, shown_credits};

const STYLE: &str = "body{margin:0;padding:16px;background:#fff;color:#1b1f24;font:16px/1.5 -apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif}\
main{max-width:560px;margin:0 auto}h1{font-size:19px;line-height:1.4;margin:0 0 16px}h2{font-size:15px;margin:24px 0 4px}\
table{width:100%;border-collapse:collapse}td{padding:5px 0;border-bottom:1px solid #e3e6ea;vertical-align:top;overflow-wrap:anywhere}\
td:first-child{color:#57606a;padding-right:12px;width:32%}.list td:first-child{color:inherit;width:auto}.n{text-align:right;white-space:nowrap}\
img{width:100%;height:auto;display:block;margin:16px 0;background:#fff;border-radius:4px}ul{padding-left:20px;margin:4px 0}code{font-size:14px;overflow-wrap:anywhere}.s{color:#57606a;font-size:14px}\
@media (prefers-color-scheme:dark){body{background:#15181c;color:#e8eaed}td{border-color:#353b43}td:first-child,.s{color:#a3acb8}.list td:first-child{color:inherit}a{color:#8ab4f8}}";

/// `cid`: the picture's content id, when there is one.
pub fn html(notice: &Notice, console: Option<&str>, cid: Option<&str>) -> String {
    let said = said(notice, console, |text| format!("<bdi>{}</bdi>", escaped(text)));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{}</title><style>{STYLE}</style></head><body><main><h1>{}</h1>",
        escaped(&said.subject),
        said.headline
    );
    if let Some(cid) = cid {
        page += &format!("<img src=\"cid:{cid}\" alt=\"{}\" width=\"560\">", escaped(&said.chart));
    }
    page += "<table>";
    for (label, value) in &said.facts {
        page += &format!("<tr><td>{}</td><td>{value}</td></tr>", escaped(label));
    }
    page += "</table>";
    for (what, rows) in [("Agents that cost most", &notice.agents), ("Models that cost most", &notice.models)] {
        if rows.is_empty() {
            continue;
        }
        page += &format!("<h2>{what}</h2><table class=\"list\">");
        for (of, cost) in rows {
            page += &format!("<tr><td><bdi>{}</bdi></td><td class=\"n\">{}</td></tr>", escaped(&name(of)), shown_credits(*cost));
        }
        page += "</table>";
    }
    page += "<h2>What to do</h2><ul>";
    for line in &said.advice {
        page += &format!("<li>{}</li>", with_code(&escaped(line)));
    }
    page += "</ul>";
    if !said.caveat.is_empty() {
        page += &format!("<p class=\"s\">{}</p>", said.caveat);
    }
    page + "</main></body></html>\n"
}

/// What stands between backticks, as code.
fn with_code(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            c => safe.push(c),
        }
    }
    safe
}
