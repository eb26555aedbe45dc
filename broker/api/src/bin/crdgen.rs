//! `crdgen` prints the definitions of our kinds as YAML, for the chart and for `kubectl apply`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for definition in sealane_api::kinds::definitions() {
        println!("---\n{}", serde_saphyr::to_string(&definition)?.trim_end());
    }
    Ok(())
}
