//! That modules import only from below, as `src/architecture.md` has them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// An import: the top-level module that it is of, and how it is written.
type Import = (String, String);

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The rung of each module, from the table of the page.
fn rungs(page: &str) -> HashMap<String, u32> {
    let rows = page.lines().filter_map(|line| {
        let (rung, rest) = line.strip_prefix("| ")?.split_once(" | `")?;
        Some((rest.split_once("` |")?.0.to_owned(), rung.parse().ok()?))
    });
    rows.collect()
}

/// The files of Rust in `folder`, and the modules that they are.
fn modules(folder: &Path, path: &[String], found: &mut Vec<(PathBuf, Vec<String>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut module = path.to_vec();
        if file.is_dir() {
            module.push(name);
            modules(&file, &module, found);
        } else if file.extension().is_some_and(|extension| extension == "rs") {
            if name != "mod" && name != "lib" {
                module.push(name);
            }
            found.push((file, module));
        }
    }
}

/// What `lib.rs` re-exports, and of which module.
fn re_exports(lib: &str) -> HashMap<String, String> {
    let mut names = HashMap::new();
    for line in lib.split(';') {
        let Some((_, import)) = line.split_once("pub use crate::") else {
            continue;
        };
        let (module, items) = import.split_once("::").unwrap();
        for item in items.trim_matches(['{', '}']).split(',') {
            names.insert(item.trim().to_owned(), module.to_owned());
        }
    }
    names
}

/// What the file of `module` imports from the crate: all paths that begin at its root, outside of tests.
fn imports(tokens: TokenStream, module: &[String], found: &mut Vec<Import>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        if is_punct(&tokens, at, '#') && is_for_tests(&tokens[at + 1]) {
            // To the end of the item: its body, or its semicolon.
            let is_end = |token: &TokenTree| match token {
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                token => token.to_string() == ";",
            };
            at += tokens[at..].iter().position(is_end).unwrap() + 1;
            continue;
        }
        if let Some(after) = root(&tokens, at, module) {
            match &tokens[after] {
                TokenTree::Ident(name) => found.push((name.to_string(), format!("crate::{name}"))),
                TokenTree::Group(group) => {
                    let items: Vec<TokenTree> = group.stream().into_iter().collect();
                    for item in items.split(|token| token.to_string() == ",").filter_map(<[_]>::first) {
                        found.push((item.to_string(), format!("crate::{item}")));
                    }
                }
                _ => {}
            }
            at = after;
        } else if let TokenTree::Group(group) = &tokens[at] {
            imports(group.stream(), module, found);
        }
        at += 1;
    }
}

fn is_punct(tokens: &[TokenTree], at: usize, punct: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(found)) if found.as_char() == punct)
}

/// Whether an attribute, without its `#`, is a condition that only tests fulfil.
fn is_for_tests(attribute: &TokenTree) -> bool {
    let text = attribute.to_string().replace(' ', "");
    text.starts_with("[cfg(test") || text.starts_with("[cfg(all(test")
}

/// Where a path goes on that begins here, at the root of the crate: after `crate::`, or after enough `super::`.
fn root(tokens: &[TokenTree], at: usize, module: &[String]) -> Option<usize> {
    let word = |at: usize, word: &str| {
        matches!(tokens.get(at), Some(TokenTree::Ident(found)) if found == word)
            && is_punct(tokens, at + 1, ':')
            && is_punct(tokens, at + 2, ':')
    };
    if word(at, "crate") {
        return Some(at + 3);
    }
    let supers = (0..).take_while(|count| word(at + 3 * count, "super")).count();
    let is_first = at == 0 || !is_punct(tokens, at - 1, ':');
    (supers > 0 && is_first && supers == module.len()).then_some(at + 3 * supers)
}

/// The imports of `text`, the file of `module`, that don't point down, in words.
fn faults(text: &str, module: &[String], rungs: &HashMap<String, u32>, names: &HashMap<String, String>) -> Vec<String> {
    let own = &module[0];
    let rung = rungs.get(own).unwrap_or_else(|| panic!("the page has no module {own}"));
    let mut found = Vec::new();
    imports(text.parse().unwrap(), module, &mut found);
    let faults = found.into_iter().filter_map(|(name, written)| {
        let of = names.get(&name).unwrap_or(&name);
        match rungs.get(of) {
            _ if of == own => None,
            Some(below) if below < rung => None,
            Some(above) => Some(format!("{own}, on rung {rung}, imports {written}, on rung {above}")),
            None => Some(format!("{own} imports {written}, which is no module of the page")),
        }
    });
    faults.collect()
}

#[test]
fn modules_import_only_from_below() {
    let rungs = rungs(&fs::read_to_string(src().join("architecture.md")).unwrap());
    let names = re_exports(&fs::read_to_string(src().join("lib.rs")).unwrap());
    let mut files = Vec::new();
    modules(&src(), &[], &mut files);
    files.retain(|(_, module)| !module.is_empty());
    let mut found = Vec::new();
    for (file, module) in &files {
        found.extend(faults(&fs::read_to_string(file).unwrap(), module, &rungs, &names));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    for module in rungs.keys() {
        let exists = files.iter().any(|(_, path)| path[0] == *module);
        assert!(exists, "the page has a module {module}, and src has none");
    }
    assert!(files.len() > 50, "only {} files", files.len());
}

#[test]
fn an_import_that_points_up_or_sideways_is_found() {
    let rungs = HashMap::from([("low", 1), ("high", 2), ("beside", 2)].map(|(name, rung)| (name.to_owned(), rung)));
    let names = HashMap::from([("High".to_owned(), "high".to_owned())]);
    let count = |module: &[&str], text: &str| {
        let module: Vec<String> = module.iter().map(|name| (*name).to_owned()).collect();
        faults(text, &module, &rungs, &names).len()
    };
    assert_eq!(count(&["high"], "use crate::low::Low; use std::io;"), 0);
    assert_eq!(count(&["low"], "use crate::high::High;"), 1);
    assert_eq!(count(&["low"], "use crate::{low, high};"), 1);
    assert_eq!(count(&["beside"], "use crate::high::High;"), 1);
    assert_eq!(
        count(&["low"], "fn f() { let _ = crate::high::f(|| crate::High::new()); }"),
        2
    );
    assert_eq!(count(&["low", "file"], "use super::super::high::High;"), 1);
    assert_eq!(
        count(&["low", "file"], "use super::high::High; use self::super::high;"),
        0
    );
    assert_eq!(count(&["low"], "use crate::elsewhere::Thing;"), 1);
    assert_eq!(count(&["low"], "/// See [`crate::high`].\nfn f() {} // crate::high"), 0);
    assert_eq!(
        count(
            &["low"],
            "#[cfg(test)] mod tests { use crate::high::High; } use crate::high;"
        ),
        1
    );
}
