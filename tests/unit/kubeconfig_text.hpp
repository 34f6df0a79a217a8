// SPDX-License-Identifier: Apache-2.0
// A kubeconfig for the tests' API server.
#pragma once

#include <string>

namespace fallbackd::test {

/// The files ca.crt and token are in the same folder.
inline std::string kubeconfigFor(const std::string& address) {
  return "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"
         "clusters: [{name: k, cluster: {server: 'https://" +
         address + "', certificate-authority: ca.crt}}]\nusers: [{name: u, user: {tokenFile: token}}]\n";
}

}  // namespace fallbackd::test
