// SPDX-License-Identifier: Apache-2.0
// Programs built by compilers of other languages from the sources below, signed and admitted.
#include "shell.hpp"
#include "signed_cache.hpp"

#include <filesystem>

namespace fallbackd {
namespace {

namespace fs = std::filesystem;
using test::Output;

struct LanguagesTest : testing::Test {
  void SetUp() override {
    ASSERT_EQ(::geteuid(), 0U) << "the cache must belong to root";
    fs::create_directory(path("keys"));
    ASSERT_EQ(ctl("keygen --out " + path("keys/k")).code, 0);
  }
  [[nodiscard]] std::string path(const std::string& name) const { return folder.path() + "/" + name; }
  /// Runs a command in the folder; keeps nothing between tests and downloads nothing.
  Output run(const std::string& command) const {
    return test::shell(
        "cd " + folder.path() + " && export HOME=" + folder.path() +
        " GOCACHE=$PWD/gocache GOPATH=$PWD/gopath GOFLAGS=-modcacherw GOSUMDB=off GOBIN=$PWD && "
        "export GOPROXY=file://$PWD/proxy && " +
        command);
  }
  static Output ctl(const std::string& args) { return test::shell(std::string(FALLBACKCTL) + " " + args); }
  /// Signs the file as checkout with this version, installs it and lists the cache.
  Output admit(const std::string& file, const std::string& version = "1.8.3") const {
    const auto signing =
        ctl("sign --force --skip-form-check --key " + path("keys/k.key") + " --name checkout --version " +
            version + " --expires 30d --out " + path("a.json") + " " + path(file));
    EXPECT_EQ(signing.code, 0) << signing.text;
    const auto where = " --cache " + path("cache") + " --keys " + path("keys") + " --state " + path("state");
    const auto installed = ctl("install" + where + " --attestation " + path("a.json") + " " + path(file));
    return installed.code == 0 ? ctl("list -o json" + where) : installed;
  }
  static bool says(const Output& output, const std::string& text) {
    return output.text.find(text) != std::string::npos;
  }
  test::TempFolder folder;
};

TEST_F(LanguagesTest, CWithMusl) {
  folder.write("main.c", "int main(void) { return 0; }\n");
  if (run("command -v musl-gcc").code != 0) GTEST_SKIP() << "no musl-gcc; see scripts/install-deps";
  // Not -static-pie: with it Debian's wrapper requests a loader.
  ASSERT_EQ(run("musl-gcc -static main.c -o it").code, 0);
  const auto admitted = admit("it");
  EXPECT_TRUE(says(admitted, R"("admitted":true)")) << admitted.text;
  ASSERT_EQ(run("musl-gcc main.c -o it").code, 0);
  EXPECT_TRUE(says(admit("it"), "elf_dynamic"));
}

TEST_F(LanguagesTest, Rust) {
  folder.write("main.rs", "fn main() { println!(\"hello\"); }\n");
  if (!fs::exists("/usr/bin/rustc")) GTEST_SKIP() << "no rustc; see scripts/install-deps";
  const auto built = run("/usr/bin/rustc -C target-feature=+crt-static main.rs -o it");
  ASSERT_EQ(built.code, 0) << built.text;
  const auto admitted = admit("it");
  EXPECT_TRUE(says(admitted, R"("admitted":true)") && says(admitted, R"("pie":true)")) << admitted.text;
  ASSERT_EQ(run("/usr/bin/rustc main.rs -o it").code, 0);
  EXPECT_TRUE(says(admit("it"), "elf_dynamic"));
}

TEST_F(LanguagesTest, Go) {
  if (run("command -v go").code != 0) GTEST_SKIP() << "no go; see scripts/install-deps";
  // A module proxy made of files: only a module from a proxy carries its version.
  const std::string source = "package main\n\nfunc main() { println(\"hello\") }\n";
  const std::string module = "module example.com/checkout\n\ngo 1.19\n";
  const std::string inZip = "zip/example.com/checkout@v1.8.3/";
  folder.write(inZip + "main.go", source);
  folder.write(inZip + "go.mod", module);
  const std::string proxy = "proxy/example.com/checkout/@v/";
  folder.write(proxy + "list", "v1.8.3\n");
  folder.write(proxy + "v1.8.3.mod", module);
  folder.write(proxy + "v1.8.3.info", R"({"Version":"v1.8.3","Time":"2026-01-01T00:00:00Z"})");
  // Without entries for folders, which Go refuses.
  ASSERT_EQ(
      run("cd zip && find example.com -type f | python3 -c 'import sys, zipfile; "
          "z = zipfile.ZipFile(sys.argv[1], \"w\"); [z.write(l.strip()) for l in sys.stdin]; z.close()' ../" +
          proxy + "v1.8.3.zip")
          .code,
      0);
  const auto installed = run("CGO_ENABLED=0 go install example.com/checkout@v1.8.3");
  ASSERT_EQ(installed.code, 0) << installed.text;
  const auto admitted = admit("checkout");
  EXPECT_TRUE(says(admitted, R"("admitted":true)")) << admitted.text;
  EXPECT_TRUE(says(admitted, R"("module":"example.com/checkout","moduleVersion":"v1.8.3")")) << admitted.text;
  const auto other = admit("checkout", "1.8.4");
  EXPECT_TRUE(says(other, "version_mismatch") && says(other, "built as example.com/checkout v1.8.3"))
      << other.text;

  // A build of the work tree has no version, and contradicts nothing.
  folder.write("src/main.go", source);
  folder.write("src/go.mod", module);
  const auto built = run("cd src && CGO_ENABLED=0 go build -o ../it .");
  ASSERT_EQ(built.code, 0) << built.text;
  EXPECT_TRUE(says(admit("it", "9.9.9"), R"("version":"9.9.9","admitted":true)"));

  const auto pie = run("cd src && CGO_ENABLED=0 go build -buildmode=pie -o ../it .");
  ASSERT_EQ(pie.code, 0) << pie.text;
  const auto refused = admit("it");
  EXPECT_TRUE(says(refused, "elf_dynamic") && says(refused, "-linkmode external -extldflags -static-pie"))
      << refused.text;
  // The advice in the message works.
  const auto corrected =
      run("cd src && CGO_ENABLED=1 go build -buildmode=pie "
          "-ldflags '-linkmode external -extldflags -static-pie' -o ../it .");
  ASSERT_EQ(corrected.code, 0) << corrected.text;
  const auto good = admit("it");
  EXPECT_TRUE(says(good, R"("pie":true)")) << good.text;
}

}  // namespace
}  // namespace fallbackd
