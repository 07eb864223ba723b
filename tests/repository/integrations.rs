//! docs/integrations.md has the names of the table in the code, and a row for each destination.

use std::fs;

use s1_forwarder::destinations::integration::INTEGRATIONS;
use s1_forwarder::record::Stream;

use super::reference_docs::root;

const BEGIN: &str = "repository::integrations` -->\n";
const END: &str = "<!-- end of names -->";

#[test]
fn the_page_prints_the_names_of_the_table() {
    let page = fs::read_to_string(root().join("docs/integrations.md")).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let mut table = String::new();
    for integration in INTEGRATIONS {
        table += &format!("\n`{}`, {}:\n\n| stream | name |\n| --- | --- |\n", integration.sink, integration.what);
        for stream in Stream::ALL {
            let name = integration.name(stream).map_or("–".to_owned(), |name| format!("`{name}`"));
            table += &format!("| `{stream}` | {name} |\n");
        }
    }
    let text = format!("{before}{BEGIN}{table}\n{END}{after}");
    // The rows on what lights up are longer than other lines.
    let is_row = |line: &&str| line.starts_with("| ");
    assert!(text.lines().filter(|line| !is_row(line)).all(|line| line.chars().count() <= 120));
    let path = root().join("docs/integrations.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == text, "docs/integrations.md differs: run UPDATE_GOLDEN=1");
}

#[test]
fn each_destination_has_its_rows() {
    let page = fs::read_to_string(root().join("docs/integrations.md")).unwrap();
    for integration in INTEGRATIONS {
        let sink = integration.sink;
        let row = page.lines().find(|line| line.starts_with("| ") && line.contains(&format!("(`{sink}`)")));
        let cells = row.unwrap_or_else(|| panic!("{sink} has no row")).split('|').filter(|cell| cell.trim().len() > 3);
        assert_eq!(cells.count(), 5, "{sink}: what lights up, what does not, what to install, what to switch off");
        let sinks_page = fs::read_to_string(root().join(format!("docs/sinks/{sink}.md"))).unwrap();
        assert!(sinks_page.contains("(../integrations.md)") && sinks_page.contains("`content: integration`"), "{sink}");
    }
}

/// Microsoft's function `SentinelOne` reads the table of this name, whose columns are those of its first connector.
#[test]
fn no_page_and_no_example_names_the_table_of_the_first_connector() {
    let mut files = vec![root().join("README.md")];
    let mut directories = ["docs", "pipelines", "deploy"].map(|name| root().join(name)).to_vec();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    assert!(files.len() > 100, "{} files", files.len());
    for path in files {
        let text = fs::read(&path).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains("SentinelOne_CL"), "{}", path.display());
    }
}
