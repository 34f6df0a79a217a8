// SPDX-License-Identifier: Apache-2.0
// What an image specifies for the process in its containers: USER, ENV, ENTRYPOINT, CMD and WORKDIR. A
// fallback runs without the image, so the attestation of its binary records them.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace fallbackd {

struct ImageConfig {
  std::string user;                                      // UID or NAME, with or without :GROUP; empty: root
  std::vector<std::pair<std::string, std::string>> env;  // in the image's order
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::string workingDir;  // absolute; empty: /

  friend bool operator==(const ImageConfig&, const ImageConfig&) = default;
};

}  // namespace fallbackd
