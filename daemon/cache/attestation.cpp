// SPDX-License-Identifier: Apache-2.0
#include "cache/attestation.hpp"

#include "base/strings.hpp"
#include "cache/image_config.hpp"
#include "cache/json.hpp"
#include "config/names.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace fallbackd::cache {

namespace {

namespace json = boost::json;

constexpr std::array<std::string_view, 4> kBundleTypes{
    "application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.3"};
constexpr std::array<std::string_view, 2> kStatementTypes{"https://in-toto.io/Statement/v0.1",
                                                          "https://in-toto.io/Statement/v1"};

constexpr std::string_view kNamespaces = "namespaces";
constexpr std::string_view kImage = "image";
constexpr std::size_t kMaxNamespaces = 256;

template <class List>
bool contains(const List& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

tl::unexpected<Error> malformed(const std::string& what, const std::string& why) {
  return fail(Stage::admission, Reason::attestation_malformed, what + ": " + why);
}
tl::unexpected<Error> unsupported(const std::string& what, const std::string& why) {
  return fail(Stage::admission, Reason::attestation_unsupported, what + ": " + why);
}

Result<Envelope> readEnvelope(const json::object& object, bool inBundle, const std::string& what) {
  Envelope envelope;
  envelope.payloadType = stringAt(object, "payloadType");
  FB_TRY(envelope.payload, decodeBase64(stringAt(object, "payload"), what + ": payload"));
  const auto* list = object.if_contains("signatures");
  if (envelope.payload.empty() || list == nullptr || !list->is_array() || list->get_array().empty()) {
    return malformed(what, "DSSE envelope without payload or signatures");
  }
  const auto& signatures = list->get_array();
  // The Sigstore specification: exactly one. A bare envelope may have several signatures.
  if (inBundle && signatures.size() != 1)
    return malformed(what, "a bundle's envelope must have exactly one signature");
  if (signatures.size() > 16) return malformed(what, "more than 16 signatures");
  for (const auto& item : signatures) {
    if (!item.is_object()) return malformed(what, "signature is not an object");
    FB_TRY(auto signature, decodeBase64(stringAt(item.get_object(), "sig"), what + ": signature"));
    if (signature.empty()) return malformed(what, "empty signature");
    envelope.signatures.push_back(std::move(signature));
  }
  if (envelope.payloadType != kPayloadType) {
    return unsupported(what, "payload type " + quoted(envelope.payloadType) + " is not an in-toto statement");
  }
  return envelope;
}

Result<std::vector<std::string>> readNamespaces(const json::value& value, const std::string& what) {
  const auto* const list = value.if_array();
  if (list == nullptr || list->size() > kMaxNamespaces) {
    return malformed(what,
                     "namespaces is not a list of at most " + std::to_string(kMaxNamespaces) + " names");
  }
  std::vector<std::string> names;
  for (const auto& item : *list) {
    const auto* const name = item.if_string();
    if (name == nullptr || !config::isDnsLabel(std::string(*name))) {
      return malformed(what, "namespaces contains an entry that is not the name of a namespace");
    }
    names.emplace_back(*name);
  }
  return names;
}

}  // namespace

Result<Envelope> parseEnvelope(std::string_view text, const std::string& what) {
  FB_TRY(const auto value, parseStrict(text, what));
  if (!value.is_object()) return malformed(what, "not a JSON object");
  const auto& root = value.get_object();
  if (root.contains("base64Signature")) {
    return unsupported(what, "an old cosign bundle; sign with cosign attest-blob --new-bundle-format");
  }
  if (root.contains("_type")) {
    return unsupported(what,
                       "an unsigned statement; use the file from cosign's --bundle, not "
                       "--output-attestation");
  }
  if (!root.contains("mediaType")) return readEnvelope(root, false, what);

  const auto mediaType = stringAt(root, "mediaType");
  if (!contains(kBundleTypes, mediaType))
    return unsupported(what, "media type " + quoted(mediaType) + " is not known");
  const auto* material = root.if_contains("verificationMaterial");
  if (material == nullptr || !material->is_object())
    return malformed(what, "bundle without verificationMaterial");
  const auto& keys = material->get_object();
  if (keys.contains("certificate") || keys.contains("x509CertificateChain")) {
    return unsupported(what,
                       "signed with a certificate (keyless); sign with a key: cosign attest-blob --key");
  }
  if (!keys.contains("publicKey"))
    return malformed(what, "bundle does not say that it was signed with a key");
  if (root.contains("messageSignature")) {
    return unsupported(what,
                       "a bare signature binds no name and version; use cosign attest-blob, not sign-blob");
  }
  const auto* envelope = root.if_contains("dsseEnvelope");
  if (envelope == nullptr || !envelope->is_object()) return malformed(what, "bundle without dsseEnvelope");
  return readEnvelope(envelope->get_object(), true, what);
}

std::string preAuthEncoding(std::string_view payloadType, std::string_view payload) {
  std::string text = "DSSEv1 " + std::to_string(payloadType.size()) + " ";
  text.append(payloadType).append(" ").append(std::to_string(payload.size())).append(" ").append(payload);
  return text;
}

Result<Statement> parseStatement(std::string_view payload, const std::string& what) {
  FB_TRY(const auto value, parseStrict(payload, what + ": statement"));
  if (!value.is_object()) return malformed(what, "statement is not an object");
  const auto& root = value.get_object();
  if (!contains(kStatementTypes, stringAt(root, "_type"))) {
    return unsupported(what,
                       "statement type " + quoted(stringAt(root, "_type")) + " is not in-toto v0.1 or v1");
  }
  if (stringAt(root, "predicateType") != kPredicateType) {
    return unsupported(what, "predicate type " + quoted(stringAt(root, "predicateType")) + " is not " +
                                 std::string(kPredicateType));
  }
  const auto* subjects = root.if_contains("subject");
  if (subjects == nullptr || !subjects->is_array() || subjects->get_array().size() != 1 ||
      !subjects->get_array().front().is_object()) {
    return malformed(what, "statement must have exactly one subject");
  }
  const auto& subject = subjects->get_array().front().get_object();
  const auto* digests = subject.if_contains("digest");
  const auto* predicateValue = root.if_contains("predicate");
  if (digests == nullptr || !digests->is_object() || predicateValue == nullptr ||
      !predicateValue->is_object()) {
    return malformed(what, "statement without subject digest or predicate");
  }
  const auto& predicate = predicateValue->get_object();
  Statement statement;
  // The signer may know more conditions than this version checks. A condition that we cannot check must not
  // be ignored, so unknown keys are refused.
  constexpr std::array<std::string_view, 6> kKeys{"name", "version", "os",
                                                  "arch", "expires", "minimumVersion"};
  for (const auto& entry : predicate) {
    if (entry.key() == kNamespaces || entry.key() == kImage) continue;
    if (!contains(kKeys, entry.key()))
      return unsupported(what, "predicate key " + quoted(entry.key()) + " is not known");
    if (!entry.value().is_string()) {
      return malformed(what, "predicate key " + quoted(entry.key()) + " must be a string (versions too)");
    }
  }
  auto ref = parseBinaryRef(stringAt(predicate, "name") + "@" + stringAt(predicate, "version"));
  if (!ref) return malformed(what, ref.error().context);
  statement.ref = std::move(*ref);
  // The subject's name is whatever the file was called when it was signed; the predicate binds the name.
  statement.digest = stringAt(digests->get_object(), "sha256");
  if (!isSha256(statement.digest)) return malformed(what, "subject has no sha256 digest in lower-case hex");
  statement.os = stringAt(predicate, "os");
  statement.arch = stringAt(predicate, "arch");
  const auto expires = parseDateTime(stringAt(predicate, "expires"));
  if (!expires) return malformed(what, "expires is not a date like 2027-01-31T00:00:00Z, from 2000 to 9999");
  statement.expires = *expires;
  if (predicate.contains("minimumVersion")) {
    statement.minimumVersion = stringAt(predicate, "minimumVersion");
    if (!parseBinaryRef(statement.ref.name + "@" + *statement.minimumVersion)) {
      return malformed(what, "minimumVersion is not a version");
    }
  }
  if (const auto* const list = predicate.if_contains(kNamespaces)) {
    FB_TRY(statement.namespaces, readNamespaces(*list, what));
  }
  if (const auto* const image = predicate.if_contains(kImage)) {
    FB_TRY(statement.image, readImageConfig(*image, what));
  }
  return statement;
}

std::string writeStatement(const Statement& statement) {
  json::object predicate{{"name", statement.ref.name},
                         {"version", statement.ref.version},
                         {"os", statement.os},
                         {"arch", statement.arch},
                         {"expires", rfc3339(statement.expires)}};
  if (statement.minimumVersion) predicate["minimumVersion"] = *statement.minimumVersion;
  if (statement.namespaces) {
    predicate[kNamespaces] = json::array(statement.namespaces->begin(), statement.namespaces->end());
  }
  if (statement.image) predicate[kImage] = writeImageConfig(*statement.image);
  const json::object root{
      {"_type", kStatementTypes[1]},
      {"subject", json::array{json::object{{"name", statement.ref.fileName()},
                                           {"digest", json::object{{"sha256", statement.digest}}}}}},
      {"predicateType", kPredicateType},
      {"predicate", std::move(predicate)}};
  return json::serialize(root);
}

Result<VerifiedStatement> verifyAttestation(std::string_view text, const Keyring& keyring,
                                            const std::string& what) {
  FB_TRY(const auto envelope, parseEnvelope(text, what));
  const auto message = preAuthEncoding(envelope.payloadType, envelope.payload);
  VerifiedStatement verified;
  for (std::size_t index = 0; index < keyring.entries().size(); ++index) {
    const auto& key = keyring.entries()[index].key;
    const bool signedByKey = std::any_of(envelope.signatures.begin(), envelope.signatures.end(),
                                         [&](const std::string& one) { return key.verifies(message, one); });
    if (signedByKey) verified.keys.push_back(index);
  }
  if (verified.keys.empty()) {
    return fail(Stage::admission, Reason::untrusted_key,
                what + " is not signed by any key of the keyring, or was changed after signing");
  }
  FB_TRY(verified.statement, parseStatement(envelope.payload, what));
  return verified;
}

Result<std::string> signStatement(const Statement& statement, const PrivateKey& key) {
  const auto payload = writeStatement(statement);
  FB_TRY(const auto signature, key.sign(preAuthEncoding(kPayloadType, payload)));
  FB_TRY(const auto publicPem, key.publicPem());
  FB_TRY(const auto publicKey, PublicKey::parse(publicPem, "the key"));
  const auto& fingerprint = publicKey.fingerprint();
  const std::string_view hint(static_cast<const char*>(static_cast<const void*>(fingerprint.data())),
                              fingerprint.size());
  const json::object bundle{
      {"mediaType", kBundleTypes[0]},
      {"verificationMaterial", json::object{{"publicKey", json::object{{"hint", encodeBase64(hint)}}}}},
      {"dsseEnvelope",
       json::object{{"payload", encodeBase64(payload)},
                    {"payloadType", kPayloadType},
                    {"signatures", json::array{json::object{{"sig", encodeBase64(signature)}}}}}}};
  return json::serialize(bundle) + "\n";
}

}  // namespace fallbackd::cache
