fn main() {
    use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
    use flyball::monitor::{key::Key, load, settings::Settings};
    let settings = Settings {
        interfaces: vec![],
        key: Key::Heartbeat,
        ports: vec![5783],
        gap: std::time::Duration::from_secs(30),
        devices: 1_500_000,
        prefixes: Default::default(),
    };
    let btf = aya::Btf::from_sys_fs().ok();
    let mut ebpf = load::open(&settings, btf.as_ref()).unwrap();
    let packet = |port: u16, seq: u32| {
        let mut p = vec![0u8; 14];
        p[12] = 8;
        let total = 20 + 8 + 80u16;
        p.extend([0x45, 0]);
        p.extend(total.to_be_bytes());
        p.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        p.extend(40000u16.to_be_bytes());
        p.extend(port.to_be_bytes());
        p.extend(88u16.to_be_bytes());
        p.extend([0, 0]);
        let mut b = vec![0u8; 80];
        b[0] = 0x46;
        b[1] = 0x42;
        b[2] = 1;
        b[3] = 1;
        b[8] = 7;
        b[28..32].copy_from_slice(&seq.to_be_bytes());
        p.extend(b);
        p
    };
    for name in ["flyball_empty", "flyball_from", "flyball_to"] {
        let p: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
        if let Err(e) = p.load() {
            println!("{name}: {e:#?}");
        }
    }
    for round in 0..3 {
        for (name, port) in
            [("flyball_empty", 5783), ("flyball_from", 5783), ("flyball_from", 99), ("flyball_to", 5783)]
        {
            let p: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
            let data = packet(port, round + 1);
            let mut out = [0u8; 256];
            let mut o = TestRunOptions::default();
            o.data_in = Some(&data);
            o.data_out = Some(&mut out);
            o.repeat = 2_000_000;
            let r = p.test_run(o).unwrap();
            println!("{name} {port}: {:?} ret {}", r.duration, r.return_value as i32);
        }
    }
}
