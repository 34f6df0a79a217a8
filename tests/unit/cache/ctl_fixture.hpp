// SPDX-License-Identifier: Apache-2.0
// The built fallbackctl with its own key, keyring and cache.
#pragma once

#include "shell.hpp"
#include "signed_cache.hpp"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <unistd.h>

#include <gtest/gtest.h>

namespace fallbackd::test {

struct CtlTest : testing::Test {
  void SetUp() override {
    // Set by scripts/check-arm64. NOLINTNEXTLINE(concurrency-mt-unsafe): no thread changes it here
    if (std::getenv("FALLBACKD_EMULATED") != nullptr) {
      GTEST_SKIP() << "an emulated test cannot start an emulated program";
    }
    ASSERT_EQ(::geteuid(), 0U) << "the cache must belong to root";
    ASSERT_EQ(ctl("keygen --out " + path("k")).code, 0);
    std::filesystem::create_directory(path("keys"));
    std::filesystem::copy_file(path("k.pub"), path("keys/k.pub"));
    where = " --cache " + path("cache") + " --keys " + path("keys") + " --state " + path("state") + " ";
  }
  [[nodiscard]] std::string path(const std::string& name) const { return folder.path() + "/" + name; }
  static Output ctl(const std::string& args) { return shell(std::string(FALLBACKCTL) + " " + args); }
  Output install(const std::string& program, const std::string& name, const std::string& more = "") {
    const auto signing =
        ctl("sign --force --key " + path("k.key") + " --name " + name +
            " --version 1.8.3 --expires 30d --out " + path("a.json") + " " + more + " " + program);
    if (signing.code != 0) return signing;
    return ctl("install" + where + "--attestation " + path("a.json") + " " + program);
  }
  test::TempFolder folder;
  std::string where;
};

inline const std::string kProgram = PROGRAMS "/elf-static-pie";

}  // namespace fallbackd::test
