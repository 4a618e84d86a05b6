//! The page of the documentation and the profiles say the same.

use brimful_providers::profile::page;

#[test]
fn the_page_of_providers_is_the_one_that_the_profiles_make() {
    let (made, kept) = (page(), include_str!("../../../docs/providers.md"));
    let differs = made
        .lines()
        .zip(kept.lines())
        .find(|(made, kept)| made != kept);
    let how = "make it anew: brimful limits --markdown > docs/providers.md";
    assert_eq!(differs, None, "{how}");
    assert_eq!(made.len(), kept.len(), "{how}");
}
