// SPDX-License-Identifier: Apache-2.0
// A pack's way from `pack build` into caches: by tag, as an artifact, beside other teams' packs.
#include "app/ctl/progress.hpp"
#include "ctl_fixture.hpp"
#include "fake_clock.hpp"
#include "output_schema.hpp"

#include <string>
#include <sys/syscall.h>
#include <vector>

#include <gmock/gmock.h>

namespace fallbackd {
namespace {

namespace fs = std::filesystem;
using test::CtlTest;
using test::kProgram;
using test::Output;
using test::shell;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

struct DeliveryTest : CtlTest {
  /// Runs fallbackctl in the test's folder. `skopeo`: a folder with a skopeo that records its arguments, or
  /// empty.
  [[nodiscard]] Output here(const std::string& arguments, const std::string& skopeo = "") const {
    const auto path = skopeo.empty() ? std::string() : "export PATH=" + skopeo + ":$PATH; ";
    return shell("cd " + folder.path() + "; " + path + FALLBACKCTL + " " + arguments);
  }
  [[nodiscard]] Output sign(const std::string& key, const std::string& name, const std::string& version,
                            const std::string& file) const {
    return here("sign --force --key " + key + ".key --name " + name + " --version " + version +
                " --expires 30d " + file);
  }
  /// Creates a folder with these signed binaries: "cart@1.0.0".
  void pack(const std::string& into, const std::vector<std::string>& refs, const std::string& key = "k",
            const std::string& program = kProgram) const {
    fs::create_directory(path(into));
    for (const auto& text : refs) {
      const auto ref = parseBinaryRef(text);
      const auto file = into + "/" + ref->fileName();
      fs::copy_file(program, path(file), fs::copy_options::overwrite_existing);
      const auto output = sign(key, ref->name, ref->version, file);
      ASSERT_EQ(output.code, 0) << output.text;
    }
  }
  void build(const std::string& from, const std::string& tag, const std::string& more = "") const {
    const auto output = here("pack build --keys keys --layout layout --tag " + tag + " " + more + " " + from);
    ASSERT_EQ(output.code, 0) << output.text;
  }
  [[nodiscard]] Output install(const std::string& from, const std::string& more = "") const {
    return here("install --cache cache --keys keys --state state --from " + from + " " + more);
  }
  /// The names of the binaries in the cache.
  [[nodiscard]] std::string cached() const {
    return shell("ls " + path("cache") + " | grep -v sigstore | tr '\\n' ' '").text;
  }
};

TEST_F(DeliveryTest, InstallAcceptsWhatBuildWrites) {
  pack("pack", {"cart@1.0.0", "checkout@1.0.0"});
  build("pack", "1.0");
  ASSERT_EQ(shell("cd " + folder.path() +
                  " && skopeo --insecure-policy copy -q oci:layout:1.0 oci-archive:pack.tar:1.0 && "
                  "cp layout/blobs/sha256/$(ls -S layout/blobs/sha256 | head -1) layer.tar.gz")
                .code,
            0);
  for (const auto* from : {"layout", "layout:1.0", "oci:layout:1.0", "pack.tar", "pack.tar:1.0",
                           "oci-archive:pack.tar:1.0", "layer.tar.gz", "pack"}) {
    const auto output = install(from);
    EXPECT_EQ(output.code, 0) << from << ": " << output.text;
    EXPECT_EQ(cached(), "cart-v1.0.0 checkout-v1.0.0 ") << from << ": the installer must not be in the cache";
    fs::remove_all(path("cache"));
  }
}

TEST_F(DeliveryTest, ATagChoosesAmongTheImagesOfALayout) {
  pack("one", {"cart@1.0.0"});
  pack("two", {"cart@2.0.0"});
  build("one", "1.0");
  build("two", "2.0");
  const auto which = install("layout");
  EXPECT_EQ(which.code, 1);
  EXPECT_THAT(which.text, HasSubstr("exactly one is needed; choose by its tag: layout:1.0, layout:2.0"));
  const auto none = install("layout:3.0");
  EXPECT_EQ(none.code, 1);
  EXPECT_THAT(none.text, HasSubstr("layout has no image \"3.0\"; it has 1.0, 2.0"));
  EXPECT_EQ(install("layout:2.0").code, 0);
  EXPECT_EQ(cached(), "cart-v2.0.0 ");
  EXPECT_EQ(install("one:1.0").code, 2) << "a folder of binaries has no tags";
  const auto shown = here("pack inspect layout:2.0");
  EXPECT_EQ(shown.code, 0) << shown.text;
  EXPECT_THAT(shown.text, AllOf(HasSubstr("2.0.0"), Not(HasSubstr("1.0.0"))));
  EXPECT_EQ(test::schemaProblems("pack inspect", here("pack inspect layout:2.0 -o json").text), "");
}

TEST_F(DeliveryTest, WhatIsHereIsNotLookedForInARegistry) {
  pack("pack", {"cart@1.0.0"});
  build("pack", "1.0");
  fs::create_directory(path("fake"));
  test::writeBytes(path("fake/skopeo"), "#!/bin/sh\necho \"$@\" >>" + path("asked") + "\necho {}\n");
  const auto asked = [&](const std::string& arguments) {
    fs::remove(path("asked"));
    const auto output = here(arguments, path("fake"));
    return std::to_string(output.code) + " " + test::readBytes(path("asked"));
  };
  EXPECT_THAT(asked("pack inspect layout:1.0"), HasSubstr("oci:layout:1.0\n"));
  EXPECT_THAT(asked("pack inspect oci:layout:1.0"), HasSubstr("oci:layout:1.0\n"));
  EXPECT_THAT(asked("pack push layout:1.0 registry.example.com/pack:1.0"),
              HasSubstr("copy oci:layout:1.0 docker://registry.example.com/pack:1.0\n"));
  EXPECT_THAT(asked("pack inspect localhost:5000/pack:1.0"), HasSubstr("docker://localhost:5000/pack:1.0\n"));
  for (const auto* nowhere :
       {"pack inspect layuot:1.0", "pack inspect shop/pack:1.0", "pack push layout:1.0 pack:1.0",
        "pack push layuot:1.0 registry.example.com/pack:1.0", "pack push layout:1.0 layout:2.0",
        "install --cache cache --keys keys --from layuot:1.0"}) {
    EXPECT_EQ(asked(nowhere), "2 ") << nowhere << ": no registry may be contacted that was not named";
  }
  const auto remote = install("registry.example.com/pack:1.0");
  EXPECT_EQ(remote.code, 2);
  EXPECT_THAT(remote.text, HasSubstr("skopeo copy docker://registry.example.com/pack:1.0 oci:layout:"));
}

TEST_F(DeliveryTest, AProgramWithTooMuchOutputIsNotWaitedFor) {
  fs::create_directory(path("fake"));
  test::writeBytes(path("fake/skopeo"), "#!/bin/sh\nexec yes\n");
  const auto output = shell("cd " + folder.path() + "; PATH=" + path("fake") +
                            ":$PATH timeout 60 " FALLBACKCTL " pack inspect registry.example.com/pack:1.0");
  EXPECT_EQ(output.code, 1) << "124: it waited for skopeo";
  EXPECT_THAT(output.text, HasSubstr("the output of skopeo has more than 16777216 bytes"));
}

TEST_F(DeliveryTest, AnArtifactIsCopiedBySkopeoAndInstalled) {
  pack("pack", {"cart@1.0.0"});
  build("pack", "1.0", "--artifact");
  const auto manifest = shell("skopeo inspect --raw oci:" + path("layout") + ":1.0");
  EXPECT_THAT(manifest.text, AllOf(HasSubstr(R"("artifactType":"application/vnd.fallbackd.pack.v1")"),
                                   HasSubstr("application/vnd.oci.empty.v1+json"),
                                   HasSubstr(R"("org.opencontainers.image.title":"pack.tar.gz")")));
  EXPECT_LT(
      fs::file_size(path("layout/blobs/sha256/" +
                         shell("ls -S " + path("layout/blobs/sha256") + " | head -1 | tr -d '\\n'").text)),
      2 * fs::file_size(kProgram))
      << "the artifact must not contain the installer";
  ASSERT_EQ(
      shell("skopeo --insecure-policy copy -q oci:" + path("layout") + ":1.0 oci:" + path("copy") + ":1.0")
          .code,
      0);
  const auto shown = here("pack inspect copy:1.0");
  EXPECT_THAT(shown.text, HasSubstr("cart  1.0.0")) << shown.code;
  const auto output = install("copy:1.0");
  EXPECT_EQ(output.code, 0) << output.text;
  EXPECT_EQ(cached(), "cart-v1.0.0 ");
}

TEST_F(DeliveryTest, APackPrunesOnlyItsOwnNames) {
  pack("cart", {"cart@1.0.0", "cart@1.1.0"});
  pack("older", {"mail@1.0.0"});
  pack("mail", {"mail@1.1.0"});
  folder.write("fallbackd.yaml",
               "apiVersion: fallbackd.io/v1\nlauncher: {runDir: " + path("run") + "}\nworkloads: []\n");
  ASSERT_EQ(install("cart").code, 0);
  ASSERT_EQ(install("older").code, 0);
  const auto output = install("mail", "--keep 1 --config fallbackd.yaml");
  ASSERT_EQ(output.code, 0) << output.text;
  EXPECT_EQ(cached(), "cart-v1.0.0 cart-v1.1.0 mail-v1.1.0 ");
}

TEST_F(DeliveryTest, AVersionOfAnotherTeamIsNotReplaced) {
  ASSERT_EQ(here("keygen --out l").code, 0);
  fs::copy_file(path("l.pub"), path("keys/l.pub"));
  pack("ours", {"cart@1.0.0"});
  pack("theirs", {"cart@1.0.0", "mail@1.0.0"}, "l", PROGRAMS "/elf-static");
  ASSERT_EQ(install("ours").code, 0);
  const auto refused = install("theirs");
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.text, HasSubstr("already_exists: cart@1.0.0 is in " + path("cache")));
  EXPECT_EQ(cached(), "cart-v1.0.0 ") << "all or nothing";
  EXPECT_EQ(test::readBytes(path("cache/cart-v1.0.0")), test::readBytes(kProgram));
  // Different bytes under our own key, and the same bytes under a different key, as in a rotation.
  pack("newer", {"cart@1.0.0"}, "k", PROGRAMS "/elf-static");
  EXPECT_EQ(install("newer").code, 0);
  pack("rotated", {"cart@1.0.0"}, "l", PROGRAMS "/elf-static");
  EXPECT_EQ(install("rotated").code, 0);
  EXPECT_EQ(install("ours").code, 1) << "the version now belongs to the other team";
  EXPECT_EQ(install("ours", "--replace-foreign").code, 0);
  fs::remove(path("keys/k.pub"));
  EXPECT_EQ(install("theirs").code, 0) << "a version without a trusted signature may be replaced";
}

TEST_F(DeliveryTest, WaitEndsWithSigterm) {
  // The awaited signal does not show as blocked, but the waiting system call shows.
  const auto output = shell("timeout 60 sh -c '" + std::string(FALLBACKCTL) +
                            " pack wait & until grep -q \"^" + std::to_string(SYS_rt_sigtimedwait) +
                            " \" /proc/$!/syscall; do :; done; kill -TERM $!; wait $!'");
  EXPECT_EQ(output.code, 0) << output.text;
}

TEST(Progress, IsALineEveryFewSecondsInALog) {
  const test::FakeClock clock;
  std::string said;
  {
    ctl::Progress progress(
        "copied", 4096, ctl::Progress::Form::log, [&](const std::string& text) { said += text; }, clock);
    for (int i = 0; i < 16; ++i) {
      clock.sleep(std::chrono::seconds(1));
      progress.add(256);
    }
  }
  EXPECT_EQ(said,
            "fallbackctl: copied 1.2 KiB of 4.0 KiB\nfallbackctl: copied 2.5 KiB of 4.0 KiB\n"
            "fallbackctl: copied 3.8 KiB of 4.0 KiB\n");
}

TEST(Progress, IsOneLineThatGoesAwayOnATerminal) {
  const test::FakeClock clock;
  std::string said;
  {
    ctl::Progress progress(
        "unpacked", 0, ctl::Progress::Form::terminal, [&](const std::string& text) { said += text; }, clock);
    progress.add(1024);
    EXPECT_EQ(said, "") << "a copy that ends at once must not print progress";
    clock.sleep(std::chrono::seconds(1));
    progress.add(1024);
  }
  EXPECT_EQ(said, "\r\x1b[Kfallbackctl: unpacked 2.0 KiB\r\x1b[K");
}

}  // namespace
}  // namespace fallbackd
