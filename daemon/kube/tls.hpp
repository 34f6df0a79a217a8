// SPDX-License-Identifier: Apache-2.0
// The TLS side of one connection: what we present, and how the server is checked.
#pragma once

#include "base/error.hpp"
#include "kube/access.hpp"

#include <memory>

#include <boost/asio/ssl/context.hpp>
#include <openssl/ssl.h>

namespace fallbackd::kube {

using TlsContext = std::shared_ptr<boost::asio::ssl::context>;

/// Reads the files that `access` names. Blocks. Stage kube; reason invalid if something in them is unusable.
Result<TlsContext> tlsContext(const Access& access);

/// Before the handshake: sets the name to request and to check.
Result<> prepareTls(SSL* connection, const Access& access);

/// After the handshake, before anything is sent: compares the pinned certificate. Reads its file. Reason
/// untrusted_key if the server presented a different one.
Result<> checkPinned(SSL* connection, const Access& access);

/// Why a handshake failed, for people: "self-signed certificate in certificate chain".
std::string verificationProblem(SSL* connection);

}  // namespace fallbackd::kube
