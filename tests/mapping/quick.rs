use s1_forwarder::record::Stream;
use s1_forwarder::transform::{Mapper, Origin, Schema, Settings};

#[test]
fn quick() {
    let Ok(path) = std::env::var("QUICK") else { return };
    let stream: Stream = std::env::var("STREAM").unwrap().parse().unwrap();
    let settings = Settings { keep_original: Some(false), ..Settings::default() };
    let origin = Origin { pipeline: "p".into(), console_host: "console.example.com".into(), stream };
    let mut mapper = Mapper::new(&settings, Schema::Ecs, origin);
    let mut out = Vec::new();
    for line in std::fs::read(path).unwrap().split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        if let Err(e) = mapper.map(line, &mut out) {
            eprintln!("{e}");
        }
        out.push(b'\n');
    }
    std::fs::write("/tmp/quick.out", out).unwrap();
}
