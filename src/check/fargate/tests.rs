use super::super::testing::codes;
use super::*;

/// As AWS's documentation lists them.
#[test]
fn sizes_of_fargate_are_those_that_exist() {
    for (cpu, memory, exists) in [
        ("256", "512", true),
        ("256", "1024", true),
        ("256", "2048", true),
        ("256", "1536", false),
        ("256", "4096", false),
        ("512", "1024", true),
        ("512", "4096", true),
        ("512", "5120", false),
        ("512", "512", false),
        ("512", "1500", false),
        ("1024", "2048", true),
        ("1024", "8192", true),
        ("1024", "9216", false),
        ("2048", "4096", true),
        ("2048", "16384", true),
        ("4096", "30720", true),
        ("4096", "31744", false),
        ("8192", "16384", true),
        ("8192", "20480", true),
        ("8192", "17408", false),
        ("8192", "61440", true),
        ("16384", "32768", true),
        ("16384", "40960", true),
        ("16384", "36864", false),
        ("16384", "122880", true),
        (".25 vCPU", "0.5 GB", true),
        ("1vcpu", "2gb", true),
        ("4 vCPU", "30 GB", true),
        ("1 vCPU", "1 GB", false),
        ("100", "512", false),
        ("a lot", "512", false),
        ("256", "much", false),
        ("0", "0", false),
        ("", "512", false),
        ("256", "", false),
    ] {
        let (cpu, memory) = (cpu.to_owned(), memory.to_owned());
        let task = FargateTask { region: "us-east-1".into(), is_spot: false, cpu, memory };
        let fargate = [(task.clone(), ["hello/prod".to_owned()].into())].into();
        let mut looked = Looked::default();
        judge(&Wishes { fargate, ..Wishes::default() }, &mut looked);
        let expected = if exists { &[][..] } else { &["PSA404"] };
        assert_eq!(codes(&looked), expected, "{task:?}");
    }
}
