//! Holds `ARCHITECTURE.md` to the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The importing room, the imported one that is below it, and the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "sse-tls/config",
    "files",
    "a configuration that files were loaded into reloads them",
)];

#[test]
fn every_file_and_name_in_the_tables_exists() {
    let page = read(&root().join("ARCHITECTURE.md"));
    let mut count = 0;
    for row in page.lines().filter_map(table_row) {
        let [_, files, names] = row[..] else {
            continue;
        };
        let files = quoted(files);
        if files.is_empty() {
            continue; // The heading, or the line below it.
        }
        let code: String = files.iter().map(|file| read(&root().join(file))).collect();
        for name in quoted(names) {
            let is_declared = ["fn", "struct", "enum", "trait"]
                .iter()
                .any(|kind| declares(&code, kind, name));
            assert!(is_declared, "{name} is not declared in {files:?}");
            count += 1;
        }
    }
    assert!(count > 40, "only {count} names were found");
}

#[test]
fn every_path_in_the_text_exists() {
    let page = read(&root().join("ARCHITECTURE.md"));
    for path in quoted(&page).iter().filter(|text| text.ends_with(".rs")) {
        assert!(root().join(path).is_file(), "{path} does not exist");
    }
}

#[test]
fn every_room_is_in_the_table_of_its_crate() {
    for package in PACKAGES {
        let listed: BTreeSet<_> = rooms(package).into_iter().collect();
        let existing: BTreeSet<_> = files(package)
            .iter()
            .map(|file| room_of(package, file))
            .filter(|room| room != "lib")
            .collect();
        assert_eq!(existing, listed, "the rooms of {package}");
    }
}

#[test]
fn no_file_imports_against_the_order_of_the_rooms() {
    let mut wrong = BTreeSet::new();
    for package in PACKAGES {
        let order = rooms(package);
        let rank = |room: &str| order.iter().position(|known| known == room);
        for file in files(package) {
            let room = room_of(package, &file);
            for import in imports(&production_code(&file)) {
                if let (Some(from), Some(to)) = (rank(&room), rank(&import))
                    && to > from
                {
                    wrong.insert((format!("{package}/{room}"), import));
                }
            }
        }
    }
    let allowed: BTreeSet<_> = EXCEPTIONS
        .iter()
        .map(|(room, import, _)| ((*room).to_owned(), (*import).to_owned()))
        .collect();
    assert_eq!(wrong, allowed, "imports of rooms that are below");
}

#[test]
fn the_core_crate_uses_no_runtime_no_socket_no_thread_and_no_clock() {
    let absent = [
        "tokio",
        "TcpStream",
        "TcpListener",
        "std::thread",
        "std::fs",
        "Instant::now",
        "SystemTime::now",
    ];
    assert_absent("sse-core", &absent);
}

#[test]
fn the_net_crate_knows_no_tls() {
    assert_absent("sse-net", &["rustls"]);
}

const PACKAGES: [&str; 3] = ["sse-core", "sse-net", "sse-tls"];

#[track_caller]
fn assert_absent(package: &str, words: &[&str]) {
    for file in files(package) {
        let code = production_code(&file);
        for word in words {
            assert!(!code.contains(word), "{} uses {word}", file.display());
        }
    }
}

/// Returns the rooms of a package in the order of its table.
fn rooms(package: &str) -> Vec<String> {
    let page = read(&root().join("ARCHITECTURE.md"));
    let heading = format!("\n{package}:\n");
    let start = page.find(&heading).expect("the crate has a table of rooms");
    let table = page[start..].lines().skip(3);
    table
        .take_while(|line| line.starts_with('|'))
        .filter_map(table_row)
        .filter_map(|row| quoted(row[0]).first().map(|room| (*room).to_owned()))
        .collect()
}

/// Returns the rooms that a file names by `crate::room`.
fn imports(code: &str) -> BTreeSet<String> {
    let named = code.split("crate::").skip(1);
    let mut imports: BTreeSet<_> = named.map(first_word).collect();
    for group in code.split("crate::{").skip(1) {
        // The parts of `crate::{a, b::c, d::{e, f}}`.
        let mut depth = 0;
        for part in group.split_inclusive([',', '{', '}']) {
            if depth == 0 {
                imports.insert(first_word(part.trim_start()));
            }
            depth += i32::from(part.ends_with('{')) - i32::from(part.ends_with('}'));
            if depth < 0 {
                break;
            }
        }
    }
    imports
}

fn first_word(text: &str) -> String {
    let is_word = |char: &char| char.is_alphanumeric() || *char == '_';
    text.chars().take_while(is_word).collect()
}

/// Returns a file's code without comments and without its tests at the end.
fn production_code(file: &Path) -> String {
    let text = read(file);
    let text = text.split("#[cfg(test)]\nmod tests {").next();
    text.unwrap_or_default()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn room_of(package: &str, file: &Path) -> String {
    let src = root().join(package).join("src");
    let path = file.strip_prefix(src).expect("the file is in the package");
    let room = path.components().next().expect("the path is not empty");
    let room = room.as_os_str().to_str().expect("names are ASCII");
    room.trim_end_matches(".rs").to_owned()
}

/// Returns the source files of a package, without modules that are only compiled for tests.
fn files(package: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(package).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let tests = files.iter().flat_map(|file| test_modules(file));
    let tests: BTreeSet<_> = tests.collect();
    files.retain(|file| !tests.contains(file));
    files.sort();
    files
}

/// Returns the files of the modules that a file declares for tests only.
fn test_modules(file: &Path) -> Vec<PathBuf> {
    let code = read(file);
    let declared = code.split("#[cfg(test)]\nmod ").skip(1);
    let folder = match file.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod" | "lib") | None => file.with_file_name(""),
        Some(_) => file.with_extension(""),
    };
    declared
        .map(|text| folder.join(format!("{}.rs", first_word(text))))
        .collect()
}

fn declares(code: &str, kind: &str, name: &str) -> bool {
    let declaration = format!("{kind} {name}");
    code.match_indices(&declaration).any(|(at, _)| {
        let next = code[at + declaration.len()..].chars().next();
        !next.is_some_and(|char| char.is_alphanumeric() || char == '_')
    })
}

/// Returns the cells of a row of a Markdown table.
fn table_row(line: &str) -> Option<Vec<&str>> {
    let row = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(row.split('|').map(str::trim).collect())
}

/// Returns the texts between backticks, without those of code blocks.
fn quoted(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose
        .flat_map(|prose| prose.split('`').skip(1).step_by(2))
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("the package is in the workspace")
}
