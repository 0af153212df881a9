//! The bill of materials: every crate in the binary, with version and licence, as SPDX.

use std::collections::{HashMap, HashSet};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::crates::Crate;
use super::tools;
use crate::{command, pins, workspace};

/// The SPDX document as JSON.
pub(super) fn text(crates: &[Crate]) -> Result<String> {
    let mut sbom = Command::new(tools::cargo_tool("cargo-sbom", pins::CARGO_SBOM)?);
    command::forget_cargo(&mut sbom);
    sbom.args(["sbom", "--cargo-package", "perf-user", "--output-format", "spdx_json_2_3", "--project-directory"]);
    let written = command::read(sbom.arg(workspace::root()))?;
    let bill = serde_json::from_str(&written).context("cargo-sbom wrote no JSON")?;
    serde_json::to_string_pretty(&corrected(bill, crates)).context("cannot write the bill of materials")
}

/// cargo-sbom lists what other platforms and the build need too, and `Cargo.lock` under names that SPDX does not allow; it
/// gives places that are no addresses, and loses parts of licences.
fn corrected(mut bill: Value, crates: &[Crate]) -> Value {
    let crates: HashMap<_, _> =
        crates.iter().map(|one| ((one.name.as_str(), one.version.as_str()), one.licence.as_str())).collect();
    let mut kept = HashSet::new();
    let mut relationships = Vec::new();
    if let Some(packages) = bill["packages"].as_array_mut() {
        packages.retain_mut(|package| {
            let text = |field: &str| package[field].as_str().unwrap_or_default();
            let Some(licence) = crates.get(&(text("name"), text("versionInfo"))) else { return false };
            // A slash is the old form of OR.
            let licence = json!(licence.replace(" / ", " OR ").replace('/', " OR "));
            let id = text("SPDXID").to_owned();
            if text("name") == "perf-user" {
                relationships.push(relationship("SPDXRef-DOCUMENT", "DESCRIBES", &id));
            }
            kept.insert(id);
            package["downloadLocation"] = json!("NOASSERTION");
            package["licenseDeclared"] = licence.clone();
            package["licenseConcluded"] = licence;
            true
        });
    }
    for one in bill["relationships"].as_array().into_iter().flatten() {
        let text = |field: &str| one[field].as_str().unwrap_or_default();
        let (from, to) = (text("spdxElementId"), text("relatedSpdxElement"));
        if kept.contains(from) && kept.contains(to) {
            relationships.push(relationship(from, text("relationshipType"), to));
        }
    }
    bill["relationships"] = Value::Array(relationships);
    bill["files"] = json!([]);
    bill
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_binary_and_its_whole_licence() {
        let package = |name: &str, licence: &str| {
            json!({ "SPDXID": format!("SPDXRef-Package-{name}"), "name": name, "versionInfo": "1.0.0",
                    "downloadLocation": "registry+x", "licenseDeclared": licence })
        };
        let bill = json!({
            "files": [{ "SPDXID": "SPDXRef-File-perf_user" }],
            "packages": [package("perf-user", "MIT"), package("zstd", "BSD"), package("windows-sys", "MIT")],
            "relationships": [
                relationship("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-File-perf_user"),
                relationship("SPDXRef-Package-perf-user", "DEPENDS_ON", "SPDXRef-Package-zstd"),
                relationship("SPDXRef-Package-zstd", "DEPENDS_ON", "SPDXRef-Package-windows-sys"),
            ],
        });
        let one = |name: &str, licence: &str| Crate {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: licence.to_owned(),
            own: false,
        };
        let bill = corrected(bill, &[one("perf-user", "MIT/Apache-2.0"), one("zstd", "BSD-3-Clause")]);
        let licences: Vec<_> =
            bill["packages"].as_array().into_iter().flatten().map(|one| &one["licenseDeclared"]).collect();
        assert_eq!(licences, ["MIT OR Apache-2.0", "BSD-3-Clause"]);
        let described = relationship("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Package-perf-user");
        let depends = relationship("SPDXRef-Package-perf-user", "DEPENDS_ON", "SPDXRef-Package-zstd");
        assert_eq!(bill["relationships"], json!([described, depends]));
        assert!(!bill.to_string().contains("perf_user"), "not allowed in a name");
    }
}
