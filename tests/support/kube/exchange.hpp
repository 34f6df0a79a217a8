// SPDX-License-Identifier: Apache-2.0
// Keeps the Kubernetes objects that tests send and receive, so that scripts/report knows can check them
// against Kubernetes' own schemas: a file for each different object, in the folder KUBE_EXCHANGE_JSON.
#pragma once

#include <string>

#include <boost/json.hpp>

namespace fallbackd::kube_test {

/// `way`: "sent" or "got". Of a list, keeps the items. Does nothing if KUBE_EXCHANGE_JSON is not set.
void keepExchanged(const char* way, const boost::json::object& object);
/// The same for a body; ignores bodies that are not an object with a kind.
void keepExchangedText(const char* way, const std::string& body);

}  // namespace fallbackd::kube_test
