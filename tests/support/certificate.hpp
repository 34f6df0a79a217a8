// SPDX-License-Identifier: Apache-2.0
// Certificates for registries that speak TLS.
#pragma once

#include "base/error.hpp"

#include <chrono>
#include <string>

namespace fallbackd::e2e {

/// A fresh P-256 key and a certificate of it for 127.0.0.1, signed by itself; both in PEM.
struct Certificate {
  std::string key;
  std::string text;
};

/// Valid from an hour before its end; an `end` in the past makes one that has expired.
Result<Certificate> makeCertificate(std::chrono::system_clock::time_point end);

}  // namespace fallbackd::e2e
