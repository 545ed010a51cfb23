{{/* What templates share: names, labels, security contexts, the configuration file, and the pod that every role has. */}}

{{- define "affidavit.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "affidavit.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* (dict "root" . "role" "proxy" "database" alias-or-empty) */}}
{{- define "affidavit.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- if .database }}
affidavit/database: {{ .database | quote }}
{{- end }}
{{- end }}

{{- define "affidavit.image" -}}
{{- $image := .root.Values.image -}}
{{- with $image.registry }}{{ . }}/{{ end }}{{ index $image .role }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "affidavit.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "affidavit.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* A database's alias as it may stand in an object's name. */}}
{{- define "affidavit.dns" -}}
{{- . | lower | replace "_" "-" | replace "." "-" | trunc 20 | trimSuffix "-" -}}
{{- end }}

{{/* affidavit.yaml: (dict "root" . "databases" list), and for roles that log in to ClickHouse "login": who as. `${POD_NAME}` is put in by the first container, see deploy/docker/prepare.py. */}}
{{- define "affidavit.config" -}}
{{- $v := .root.Values -}}
{{- $kafka := dict "bootstrap_servers" $v.kafka.bootstrapServers "topic_prefix" $v.kafka.topicPrefix "replication" ($v.kafka.replication | int) -}}
{{- $security := dict "tls" $v.kafka.tls -}}
{{- if $v.kafka.caSecret }}{{ $_ := set $security "ca_file" "/run/secrets/affidavit/kafka-ca/file" }}{{ end -}}
{{- if ne $v.kafka.mechanism "none" -}}
{{- $_ := set $security "mechanism" $v.kafka.mechanism -}}
{{- $_ := set $security "username" $v.kafka.username -}}
{{- $_ := set $security "password_file" "/run/secrets/affidavit/kafka-password/file" -}}
{{- with $v.kafka.tokenUrl }}{{ $_ := set $security "token_url" . }}{{ end -}}
{{- end -}}
{{- $_ := set $kafka "security" $security -}}
{{- $clickhouse := dict "interface" $v.clickhouse.interface "host" $v.clickhouse.host "port" ($v.clickhouse.port | int) "database" $v.clickhouse.database -}}
{{- $user := dict -}}
{{- with .login }}{{ $user = index $v.clickhouse.users . }}{{ $_ := set $clickhouse "user" $user.name }}{{ end -}}
{{- if $user.passwordSecret }}{{ $_ := set $clickhouse "password_file" "/run/secrets/affidavit/clickhouse-password/file" }}{{ end -}}
{{- if $v.clickhouse.caSecret }}{{ $_ := set $clickhouse "ca_file" "/run/secrets/affidavit/clickhouse-ca/file" }}{{ end -}}
{{- with $v.clickhouse.cluster }}{{ $_ := set $clickhouse "cluster" . }}{{ end -}}
{{- $databases := list -}}
{{- range .databases -}}
{{- $u := .upstream -}}
{{- $upstream := dict "host" $u.host "port" ($u.port | default 5432 | int) "database" $u.database "user" $u.user "tls" ($u.tls | default "verify-full") "password_file" "/run/secrets/affidavit/upstream-password/file" -}}
{{- if $u.caSecret }}{{ $_ := set $upstream "ca_file" "/run/secrets/affidavit/upstream-ca/file" }}{{ end -}}
{{- $tls := .clientTls | default dict -}}
{{- $clientTls := dict "mode" ($tls.mode | default "require") -}}
{{- if $tls.secret }}{{ $_ := set $clientTls "cert_file" "/run/secrets/affidavit/client-tls/tls.crt" }}{{ $_ := set $clientTls "key_file" "/run/secrets/affidavit/client-tls/tls.key" }}{{ end -}}
{{- $databases = append $databases (dict "alias" .alias "environment" (.environment | default "production") "listen" (printf "0.0.0.0:%d" (.port | default 6432 | int)) "upstream" $upstream "client_tls" $clientTls) -}}
{{- end -}}
{{- $config := dict "data_dir" "/var/lib/affidavit" "log" (dict "kind" "kafka" "kafka" $kafka) -}}
{{- if $databases -}}
{{- $_ := set $config "databases" $databases -}}
{{- $_ := set $config "proxy" (dict "name" "${POD_NAME}" "metrics_listen" "0.0.0.0:9464") -}}
{{- $files := list -}}
{{- range $v.policy.files }}{{ $files = append $files (printf "/etc/affidavit-policies/%s" .) }}{{ end -}}
{{- if $files }}{{ $_ := set $config "policy" (dict "files" $files) }}{{ end -}}
{{- else -}}
{{- $_ := set $config "clickhouse" $clickhouse -}}
{{- $_ := set $config "process" (dict "listen" (printf "0.0.0.0:%d" ($v.process.port | int))) -}}
{{- $_ := set $config "api" (dict "listen" (printf "0.0.0.0:%d" ($v.api.port | int)) "metrics_public" true) -}}
{{- end -}}
{{- mergeOverwrite $config (deepCopy $v.extra) | toYaml -}}
{{- end }}

{{/* The pod of a role: (dict "root" . "role" r "database" d-or-nil "login" user-or-nil "config" name "args" list "ports" yaml "probes" yaml "data" volume-or-empty) */}}
{{- define "affidavit.pod" -}}
{{- $v := .root.Values -}}
serviceAccountName: {{ include "affidavit.name" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- include "affidavit.podSecurity" . | nindent 2 }}
{{- with $v.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
terminationGracePeriodSeconds: 150
initContainers:
  - name: prepare
    image: {{ include "affidavit.image" . }}
    imagePullPolicy: {{ $v.image.pullPolicy }}
    command: [python, -m, deploy.docker.prepare]
    env:
      - name: POD_NAME
        valueFrom: {fieldRef: {fieldPath: metadata.name}}
    securityContext: {{- include "affidavit.containerSecurity" . | nindent 6 }}
    resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 256Mi}}
    volumeMounts:
      - {name: template, mountPath: /etc/affidavit-template, readOnly: true}
      - {name: config, mountPath: /etc/affidavit}
      - {name: data, mountPath: /var/lib/affidavit}
      {{- if include "affidavit.hasKeys" . }}
      - {name: keys, mountPath: /etc/affidavit-keys, readOnly: true}
      {{- end }}
  {{- range .before }}
  - name: {{ join "-" . }}
    image: {{ include "affidavit.image" $ }}
    imagePullPolicy: {{ $v.image.pullPolicy }}
    args: {{ toJson . }}
    securityContext: {{- include "affidavit.containerSecurity" $ | nindent 6 }}
    resources: {requests: {cpu: 100m, memory: 256Mi}, limits: {memory: 1Gi}}
    volumeMounts: {{- include "affidavit.mounts" $ | nindent 6 }}
  {{- end }}
containers:
  - name: {{ .role }}
    image: {{ include "affidavit.image" . }}
    imagePullPolicy: {{ $v.image.pullPolicy }}
    args: {{ toJson .args }}
    {{- with .ports }}
    ports: {{- . | nindent 6 }}
    {{- end }}
    {{- with .probes }}
    {{- . | nindent 4 }}
    {{- end }}
    securityContext: {{- include "affidavit.containerSecurity" . | nindent 6 }}
    resources: {{- toYaml (.resources | default (dict "requests" (dict "cpu" "250m" "memory" "128Mi") "limits" (dict "memory" "512Mi"))) | nindent 6 }}
    volumeMounts: {{- include "affidavit.mounts" . | nindent 6 }}
volumes:
  - name: template
    configMap: {name: {{ .config }}}
  - name: config
    emptyDir: {medium: Memory, sizeLimit: 1Mi}
  - name: tmp
    emptyDir: {sizeLimit: 256Mi}
  {{- if .emptyData }}
  - name: data
    emptyDir: {sizeLimit: {{ .emptyData }}}
  {{- end }}
  {{- if include "affidavit.hasKeys" . }}
  - name: keys
    projected:
      defaultMode: 0440
      sources:
        {{- if and $v.keys.secret .database }}
        - secret: {name: {{ $v.keys.secret }}}
        {{- else if $v.keys.secret }}
        - secret: {name: {{ $v.keys.secret }}, items: [{key: token.key, path: token.key}]}
        {{- end }}
        {{- if and $v.keys.controlSecret .database }}
        - secret: {name: {{ $v.keys.controlSecret }}, items: [{key: control.pub, path: control.pub}]}
        {{- else if and $v.keys.controlSecret (eq .role "api") }}
        - secret: {name: {{ $v.keys.controlSecret }}}
        {{- end }}
        {{- if and $v.keys.publicConfigMap (not .database) }}
        - configMap: {name: {{ $v.keys.publicConfigMap }}}
        {{- end }}
  {{- end }}
  {{- if and .database $v.policy.configMap }}
  - name: policies
    configMap: {name: {{ $v.policy.configMap }}}
  {{- end }}
  {{- range $name, $secret := include "affidavit.secrets" . | fromYaml }}
  - name: {{ $name }}
    secret:
      secretName: {{ $secret.name }}
      defaultMode: 0440
      {{- with $secret.key }}
      items: [{key: {{ . }}, path: file}]
      {{- end }}
  {{- end }}
{{- with $v.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A proxy takes keys from the Secret alone, the others public ones too. */}}
{{- define "affidavit.hasKeys" -}}
{{- if or .root.Values.keys.secret (and .root.Values.keys.controlSecret (or .database (eq .role "api"))) (and .root.Values.keys.publicConfigMap (not .database)) }}yes{{ end -}}
{{- end }}

{{- define "affidavit.mounts" -}}
- {name: config, mountPath: /etc/affidavit, readOnly: true}
- {name: data, mountPath: /var/lib/affidavit}
- {name: tmp, mountPath: /tmp}
{{- if and .database .root.Values.policy.configMap }}
- {name: policies, mountPath: /etc/affidavit-policies, readOnly: true}
{{- end }}
{{- range $name, $_ := include "affidavit.secrets" . | fromYaml }}
- {name: {{ $name }}, mountPath: /run/secrets/affidavit/{{ $name }}, readOnly: true}
{{- end }}
{{- end }}

{{/* The Secrets that a role mounts: name of the volume → {name, key}; without a key the whole Secret. */}}
{{- define "affidavit.secrets" -}}
{{- $v := .root.Values -}}
{{- $found := dict -}}
{{- with $v.kafka.caSecret }}{{ $_ := set $found "kafka-ca" . }}{{ end -}}
{{- if ne $v.kafka.mechanism "none" }}{{ $_ := set $found "kafka-password" $v.kafka.passwordSecret }}{{ end -}}
{{- with .database -}}
{{- $_ := set $found "upstream-password" .upstream.passwordSecret -}}
{{- with .upstream.caSecret }}{{ $_ := set $found "upstream-ca" . }}{{ end -}}
{{- with .clientTls }}{{ with .secret }}{{ $_ := set $found "client-tls" (dict "name" .) }}{{ end }}{{ end -}}
{{- else -}}
{{- with (index $v.clickhouse.users .login).passwordSecret }}{{ $_ := set $found "clickhouse-password" . }}{{ end -}}
{{- with $v.clickhouse.caSecret }}{{ $_ := set $found "clickhouse-ca" . }}{{ end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end }}
