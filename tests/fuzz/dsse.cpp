// SPDX-License-Identifier: Apache-2.0
// An envelope, and the key that signed an envelope in the corpus: only what was signed may pass.
#include "cache/attestation.hpp"
#include "fuzz.hpp"

#include <filesystem>
#include <fstream>
#include <optional>
#include <unistd.h>

using namespace fallbackd;

namespace {

// Its private half signed the seed and was discarded.
constexpr const char* kKey = R"(-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAESHNM4SF74BCFP6lD2lCPznfU5SfA
4gQAN2vhJOngdh0Z8l94TZsrww5YAMNQuQtwU5pj9PRyYoxcH72A3LkzYA==
-----END PUBLIC KEY-----
)";

const cache::Keyring& keyring() {
  static const auto ring = [] {
    std::string folder = std::filesystem::temp_directory_path() / "fallbackd-fuzz-XXXXXX";
    fuzz::demand(::mkdtemp(folder.data()) != nullptr, "a folder for the key");
    std::ofstream(folder + "/key.pub") << kKey;
    auto opened = cache::Keyring::open(folder, ::geteuid());
    std::filesystem::remove_all(folder);
    fuzz::demand(opened.has_value(), "the keyring opens");
    return std::move(*opened);
  }();
  return ring;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto verified = cache::verifyAttestation(fuzz::text(data, size), keyring(), "it");
  if (!verified) return 0;
  fuzz::demand(verified->keys.size() == 1, "one key signed");
  fuzz::demand(verified->statement.ref.toString() == "checkout@1.8.3", "the statement is the signed one");
  fuzz::demand(verified->statement.digest == std::string(64, 'a'), "the statement is about these bytes");
  return 0;
}
