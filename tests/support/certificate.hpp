// SPDX-License-Identifier: Apache-2.0
// Certificates for registries that use TLS.
#pragma once

#include "base/error.hpp"

#include <chrono>
#include <string>

namespace fallbackd::e2e {

/// A new P-256 key and its self-signed certificate for 127.0.0.1; both in PEM.
struct Certificate {
  std::string key;
  std::string text;
};

/// Valid from one hour before `end`; an `end` in the past gives an expired certificate.
Result<Certificate> makeCertificate(std::chrono::system_clock::time_point end);

}  // namespace fallbackd::e2e
