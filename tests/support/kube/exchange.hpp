// SPDX-License-Identifier: Apache-2.0
// Keeps what tests send and get as Kubernetes objects, so that scripts/report knows can check them against
// Kubernetes' own schemas: a file for each different object, in the folder that KUBE_EXCHANGE_JSON names.
#pragma once

#include <string>

#include <boost/json.hpp>

namespace fallbackd::kube_test {

/// `way`: "sent" or "got". Of a list its items. Does nothing unless the folder is named.
void keepExchanged(const char* way, const boost::json::object& object);
/// The same of a body; other bodies than objects with a kind are not kept.
void keepExchangedText(const char* way, const std::string& body);

}  // namespace fallbackd::kube_test
